"""Versions, runs and decisions in a SQL database, model files beside it."""
