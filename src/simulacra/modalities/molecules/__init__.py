"""Molecules: SMILES and SELFIES as sequences of tokens, and back to something a chemist can look at."""
