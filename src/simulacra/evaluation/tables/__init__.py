"""Rows that were drawn, judged against real ones: shapes, pairs, detection, use, records, attacks, rules."""
