"""Decide from values alone. No clock, no dice, no I/O, only the standard library."""
