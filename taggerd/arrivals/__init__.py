"""Arrivals: how a file on disk becomes known, whole, and once."""
