"""Answers: the champions' forecasts of the newest candle, each with what it takes to trust it or not."""
