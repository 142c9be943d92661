"""The decisions: values in, values out. No clock, no dice, no I/O, only the standard library."""
