"""A local exchange that speaks Binance's public spot REST: to rehearse on, for the demo and for the tests."""
