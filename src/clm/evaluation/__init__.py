"""What forecasts were worth, and whether a difference between two models is more than luck."""
