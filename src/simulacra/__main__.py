"""``python -m simulacra`` is ``simulacra``."""

from simulacra.cli.main import main

main()
