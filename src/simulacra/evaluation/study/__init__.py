"""Human evaluation: designs, planning, a server and a page of one file, results with intervals.

``create`` writes a study's folder, ``server.serve`` serves it, ``results.results_of`` reads what raters answered.
"""

from simulacra.evaluation.study.designs import DESIGNS, Design, Discern, Prefer, Rate, Timed, Untimed
from simulacra.evaluation.study.protocol import Exclusion, Study, create, open_study

__all__ = [
    "DESIGNS",
    "Design",
    "Discern",
    "Exclusion",
    "Prefer",
    "Rate",
    "Study",
    "Timed",
    "Untimed",
    "create",
    "open_study",
]
