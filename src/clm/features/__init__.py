"""Candles → causal, stationary features: a catalogue with one row a feature, and the engineer over it."""
