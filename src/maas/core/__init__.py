"""The vocabulary every floor speaks. No I/O; NumPy and msgspec only."""
