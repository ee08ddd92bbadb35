"""Candles: from the exchange, from files, validated and stored."""
