"""Proposes recipes on the training window alone; whether they are better is for the evidence to say."""
