"""Continuous Learning Manager."""
