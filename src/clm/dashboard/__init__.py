"""The window at `/`: which model answers, since when, why, is it still good, what needs you."""
