"""The type checker behind shapes in signatures: where a float is asked for an int will do, as PEP 484 has it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
