"""Tables: csv, parquet and DataFrames; the schema of their columns; rows as examples of a space, and back."""
