"""The public conformance battery: mathematical laws that any model can be put through.

    from simulacra import laws

    results = laws.check(make_model)          # or laws.check(make_model, data)
    print(laws.table(results))

A law applies to whatever model has the capabilities it is about, ours or a stranger's.
"""

from simulacra.laws.battery import LAWS, check, find, run, table
from simulacra.laws.law import Broken, Inapplicable, Law, Result, Subject

__all__ = ["LAWS", "Broken", "Inapplicable", "Law", "Result", "Subject", "check", "find", "run", "table"]
