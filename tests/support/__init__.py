"""What several test folders share: candles, real and made up. No test doubles for our own parts."""
