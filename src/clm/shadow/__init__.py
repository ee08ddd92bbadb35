"""Candidates forecasting beside the champion, without consequences."""
