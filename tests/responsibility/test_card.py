"""Cards say what was measured, link every figure, list the rest as not measured, and cannot be broken by a name."""

from __future__ import annotations

from simulacra.core.figure import Figure
from simulacra.responsibility.card import Subject, data_card, model_card
from simulacra.responsibility.finding import Finding, anchor, unmeasured
from simulacra.responsibility.page import render_audit

SUBJECT = Subject(
    name="a | <b>", family="vae", learnt="A vae.", data="digits", counts={"train": 1250, "held_out": 547},
    fingerprints={"train": "ab"}, classes=("0", "1"), shares=(0.25, 0.75), settings={"Steps": 5},
    versions={"torch": "2"},
)  # fmt: skip
FIGURE = Figure(name="Frechet distance", value=1.5, direction="lower", n=100, interval_method="none: few")
FOUND = [
    Finding(name="copying, C_T", verdict="attention", why="too near", figures=(FIGURE,), p=0.01),
    unmeasured("differential privacy", "no epsilon"),
]


def test_before_anything_was_measured_the_card_says_so():
    card = model_card(SUBJECT, [], None)
    for part in ("## Model details", "## Uses", "## Training data", "## Evaluation", "## Not measured"):
        assert part in card
    assert "Not measured: `simulacra evaluate RUN` does." in card
    assert "`simulacra audit RUN` measures them" in card
    assert "not stated" in card  # licence and consent
    assert "Not measured: `simulacra audit RUN` does." in data_card(SUBJECT, None)


def test_every_figure_and_finding_has_its_link_and_the_link_its_place():
    card = model_card(SUBJECT, [FIGURE], FOUND)
    assert "| [Frechet distance](report.html) | 1.5" in card
    assert f"](audit.html#{anchor('copying, C_T')}) | attention | too near |" in card
    assert "- differential privacy: no epsilon" in card
    page = render_audit("name", FOUND, date="")
    assert 'id="copying-c-t"' in page
    assert "1 findings ask for attention, 0 pass, 1 questions were not measured." in page


def test_a_name_cannot_break_a_card_or_smuggle_markup():
    assert "# a \\| \\<b\\>" in model_card(SUBJECT, [], FOUND)
    assert "<h1>&lt;script&gt;</h1>" in render_audit("<script>", FOUND, date="")


def test_the_data_card_has_parts_and_shares():
    card = data_card(SUBJECT, FOUND)
    assert "| train | 1,250 | `ab` |" in card
    assert "| 1 | 0.7500 |" in card
