"""The vocabulary everything else is written in."""
