"""Between files and tensors and something a person can look at: one room a kind of data."""
