"""Reports: one run, or several side by side, as one HTML file that needs no network; figures as text, tables and JSON.

``runs`` fills a ``Report`` with plain values and calls ``render``; nothing here knows of models, files or training.
"""

from simulacra.evaluation.report.comparison import (
    Comparison,
    comparison_csv,
    comparison_json,
    comparison_rows,
    differences_csv,
)
from simulacra.evaluation.report.comparison_page import render_comparison
from simulacra.evaluation.report.contents import Costs, Neighbour, Report, Verdict
from simulacra.evaluation.report.figures import explain, figures_to_json, format_figure
from simulacra.evaluation.report.page import render
from simulacra.evaluation.report.terminal import text_table

__all__ = [
    "Comparison",
    "Costs",
    "Neighbour",
    "Report",
    "Verdict",
    "comparison_csv",
    "comparison_json",
    "comparison_rows",
    "differences_csv",
    "explain",
    "figures_to_json",
    "format_figure",
    "render",
    "render_comparison",
    "text_table",
]
