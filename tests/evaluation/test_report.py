"""Reports: what a page may contain, what it must say, how numbers are written, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
import struct
import zlib
from dataclasses import dataclass, fields, replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from simulacra.core.figure import Figure
from simulacra.evaluation.differences import Distinction
from simulacra.evaluation.report import (
    Comparison,
    Costs,
    Neighbour,
    Report,
    comparison_csv,
    comparison_json,
    differences_csv,
    explain,
    figures_to_json,
    format_figure,
    render,
    render_comparison,
    text_table,
)
from simulacra.evaluation.report.comparison import better, boards, column
from simulacra.evaluation.report.numbers import MINUS, duration, short, write

HOSTILE = """<script>alert("x")</script><img src=https://evil.example/x.png onerror='alert(1)'>&amp;{{ 7*7 }}"""
VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass(frozen=True)
class Spoken:
    name: str
    level: str
    text: str
    step: int | None


@dataclass(frozen=True)
class Judged(Spoken):
    measured: tuple[tuple[str, str, str], ...] = ()


class Page(HTMLParser):
    """The page's tags, text and attributes; an error for tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def png(width: int = 2, height: int = 3) -> bytes:
    """A valid grey PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def figure(value: float = 12.312, half: float | None = 0.29, **changes) -> Figure:
    stated = {
        "name": "Frechet distance without bias",
        "value": value,
        "direction": "lower",
        "n": 500,
        "n_real": 360,
        "interval": None if half is None else (value - half, value + half),
        "interval_method": "jackknife" if half is not None else "none: it failed its coverage test",
        "seed": 7,
        "extractor": "classifier",
        "extractor_hash": "3fa92c1bdeadbeef",
    }
    return Figure(**{**stated, **changes})


def full() -> Report:
    """A report with something in every section."""
    log = [{"step": i, "examples": 8 * i, "elbo": 100 / (i + 1), "elbo/kl": i * 0.1, "r1": 1.0} for i in range(60)]
    return Report(
        name="my run",
        family="vae",
        data="digits",
        learnt="What digits look like.",
        date="today",
        verdicts=[
            Spoken("mode collapse", "ok", "Varied enough.", 10),
            Spoken("divergence", "stop", "It diverged.", None),
        ],
        samples=png(),
        real=png(),
        reconstructions=png(),
        interpolations=png(),
        nearest=[Neighbour(sample=png(), real=png(), ratio=0.913, unseen=0.034)],
        progress=[(0, png()), (1000, png())],
        log=log,
        units={"elbo/kl": "nats"},
        figures=[figure(), figure(0.5, None, name="density", direction="higher")],
        costs=Costs(wall_seconds=75, cpu_seconds=140.0, steps=1000, parameters=12345, seconds_per_sample=2e-5),
        recipe={"family": "vae", "config": {"width": 64}, "seed": 0},
        licence="CC BY 4.0",
        command="simulacra fit vae digits --seed 0",
    )


def bare() -> Report:
    return Report(name="bare", family="gan", data="points")


def headings(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def two(a: Report | None = None, b: Report | None = None, **changes) -> Comparison:
    a = a or replace(full(), name="a")
    b = b or replace(full(), name="b", figures=[figure(20.0)])
    return Comparison(**{"title": "Two", "runs": [a, b], **changes})


# --- numbers ---


def random_interval(seed: int) -> tuple[float, tuple[float, float]]:
    rng = random.Random(seed)
    value = rng.choice([-1, 1]) * 10 ** rng.uniform(-9, 9)
    half = abs(value) * 10 ** rng.uniform(-6, 1)
    skew = rng.uniform(0.1, 1.9)
    return value, (value - half * skew, value + half * (2 - skew))


def number(text: str) -> float:
    return float(text.replace(",", "").replace(MINUS, "-"))


@pytest.mark.parametrize("seed", range(300))
def test_an_interval_keeps_two_digits_of_its_half_width(seed: int) -> None:
    """What is written errs by less than a twentieth of the half width, and the last digit is not below a hundredth."""
    value, (low, high) = random_interval(seed)
    half = (high - low) / 2
    written = write(value, (low, high))
    scale = 10.0**written.exponent
    unit_of_last_digit = 10.0 ** -len(written.value.partition(".")[2]) * scale
    for text, truth in ((written.value, value), (written.low, low), (written.high, high)):
        assert abs(number(text) * scale - truth) <= half / 20 * (1 + 1e-6) + 1e-12 * abs(truth)
        assert len(text.partition(".")[2]) == len(written.value.partition(".")[2])
    if "." in written.value:
        assert unit_of_last_digit >= half / 100 * (1 - 1e-6)


@pytest.mark.parametrize("seed", range(100))
def test_a_value_within_its_interval_is_written_within_it(seed: int) -> None:
    value, (low, high) = random_interval(seed)
    written = write(value, (low, high))
    assert number(written.low) <= number(written.value) <= number(written.high)


@pytest.mark.parametrize(
    ("value", "interval", "texts"),
    [
        (12.312, (12.02, 12.60), ("12.31", "12.02", "12.60", 0)),
        (0.00123, (-0.0004, 0.003), ("0.0012", f"{MINUS}0.0004", "0.0030", 0)),
        (12345.6, (9000.0, 15000.0), ("12,300", "9,000", "15,000", 0)),
        (3.2e-9, (1e-9, 6e-9), ("3.2", "1.0", "6.0", -9)),
        (-0.0001, (-0.4, 0.4), ("0.00", f"{MINUS}0.40", "0.40", 0)),
        (8.0, None, ("8", "", "", 0)),
        (0.91234, None, ("0.912", "", "", 0)),
        (5.0, (5.0, 5.0), ("5", "5", "5", 0)),
        (math.nan, None, ("not a number", "", "", 0)),
        (2.0, (1.0, math.inf), ("2.0", "1.0", "∞", 0)),
    ],
)
def test_numbers_as_they_are_written(value: float, interval, texts: tuple[str, str, str, int]) -> None:
    written = write(value, interval)
    assert (written.value, written.low, written.high, written.exponent) == texts


@pytest.mark.parametrize("value", [5e-324, 1.7e308, -1.7e308, 0.0, -0.0, 1e-4, 1e7, 9_999_999.0])
def test_every_float_can_be_written(value: float) -> None:
    assert write(value).value
    assert write(value, (-1.7e308, 1.7e308)).low
    assert short(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.1e-5, "21 µs"), (0.0123, "12.3 ms"), (12.34, "12.3 s"), (59.97, "1 min 00 s"), (185, "3 min 05 s"),
     (7620, "2 h 07 min"), (273_600, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- one figure ---


def test_a_figure_as_a_line_says_all_that_gives_it_meaning() -> None:
    line = format_figure(figure(unit="nats", note="of 8-bit pixels"))
    for part in ("12.31 nats", "[12.02, 12.60] 95 % jackknife", "lower is better", "estimate", "N = 500 against 360",
                 "classifier (3fa92c1b)", "seed 7", "of 8-bit pixels"):  # fmt: skip
        assert part in line


def test_a_figure_without_an_interval_says_so_and_why() -> None:
    assert "no interval: it failed its coverage test" in format_figure(figure(half=None))
    assert "no interval: no reason stated" in format_figure(figure(half=None, interval_method=""))
    page = Page(render(replace(bare(), figures=[figure(half=None)])))
    assert "no interval: it failed its coverage test" in page.words


def test_a_bound_is_written_on_the_side_where_the_truth_lies() -> None:
    """An upper bound on a loss is "at most", a lower bound on a gain "at least": the truth is no worse."""
    assert "≤ 12.31" in format_figure(figure(kind="bound", direction="lower"))
    assert "≥ 12.31" in format_figure(figure(kind="bound", direction="higher"))
    assert "≤" not in format_figure(figure())


@pytest.mark.parametrize(
    "name",
    ["Frechet distance", "kernel distance", "precision (k=5)", "recall (k=5)", "density (k=5)", "coverage (k=5)",
     "class score", "divergence frontier area",
     "negative log-likelihood of 8-bit pixels", "bits per element of binary pixels", "test NLL",
     "bits/dim", "KID", "IWAE"],
)  # fmt: skip
def test_what_is_measured_is_explained(name: str) -> None:
    assert explain(name).endswith(".")


def test_explanations_go_by_whole_words_and_prefer_the_longest() -> None:
    assert explain("inprecisions") == ""
    assert explain("Frechet distance without bias") != explain("Frechet distance")


def test_figures_survive_json() -> None:
    given = [figure(), figure(half=None), figure(math.inf, None)]
    parsed = json.loads(figures_to_json(given))
    assert [Figure.from_json({**p, "value": float(p["value"])}) for p in parsed] == given


def test_the_terminal_table_shows_intervals_as_they_are() -> None:
    """Square brackets would be swallowed as markup if the cells were not plain text."""
    out = io.StringIO()
    Console(file=out, width=200).print(text_table([figure(), figure(half=None, name="[red]x[/red]")], title="held-out"))
    assert "[12.02, 12.60] 95 % jackknife" in out.getvalue()
    assert "[red]x[/red]" in out.getvalue()
    assert "no interval" in out.getvalue()


# --- the page ---


@pytest.mark.parametrize("make", [lambda: render(full()), lambda: render(bare()), lambda: render_comparison(two())])
def test_a_page_is_whole_and_asks_nothing_of_the_network(make) -> None:
    html = make()
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            if (target := attributes.get(name)) is not None:
                assert target.startswith(("data:", "#")), (tag, name, target)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_picture_has_words_and_a_size() -> None:
    pictures = [a for t, a in Page(render(full())).tags if t == "img"]
    assert len(pictures) == 8
    assert all(a["alt"] and (a["width"], a["height"]) == ("2", "3") for a in pictures)


def test_all_text_is_escaped() -> None:
    """Whatever a user calls things, no tag of theirs comes to life, and the words are still to be read."""
    texts = {f.name: HOSTILE for f in fields(Report) if f.type in ("str", "str | None")}
    hostile = replace(
        full(),
        **texts,
        verdicts=[Spoken(HOSTILE, HOSTILE, HOSTILE, None)],
        figures=[figure(name=HOSTILE, unit=HOSTILE, extractor=HOSTILE, extractor_hash=HOSTILE, note=HOSTILE,
                        interval_method=HOSTILE)],
        recipe={HOSTILE: HOSTILE},
        units={"elbo/kl": HOSTILE},
        log=[{"step": i, HOSTILE: float(i)} for i in range(3)],
        costs=Costs(machine=HOSTILE),
    )  # fmt: skip
    many = two(hostile, replace(full(), name="b", figures=hostile.figures), title=HOSTILE, subtitle=HOSTILE)
    safe = two(title="Two", subtitle="x")
    for html, like in ((render(hostile), render(full())), (render_comparison(many), render_comparison(safe))):
        page = Page(html)
        scripts = [t for t, _ in Page(like).tags if t == "script"]
        assert [t for t, _ in page.tags if t == "script"] == scripts
        assert not any("onerror" in a for _, a in page.tags)
        assert not any((a.get("src") or "data:").startswith("http") for _, a in page.tags)
        assert "{{ 7*7 }}" in page.text
        assert "49" not in page.text.replace(HOSTILE, "")


def test_empty_sections_vanish() -> None:
    assert headings(render(bare())) == ["Made of"]
    assert headings(render(full())) == [
        "Verdicts", "Samples", "Figures", "Nearest", "Reconstructions", "Interpolations", "Progress", "Curves", "Cost",
        "Made of",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "empty", "heading"),
    [("verdicts", (), "Verdicts"), ("figures", (), "Figures"), ("log", (), "Curves"), ("costs", Costs(), "Cost"),
     ("nearest", (), "Nearest"), ("reconstructions", None, "Reconstructions"), ("progress", (), "Progress"),
     ("interpolations", None, "Interpolations")],
)  # fmt: skip
def test_each_section_depends_on_its_own_content(field: str, empty: object, heading: str) -> None:
    without = headings(render(replace(full(), **{field: empty})))
    assert set(headings(render(full()))) - set(without) == {heading}


def test_verdicts_speak_in_words_and_the_worst_comes_first() -> None:
    words = Page(render(full())).words
    assert words.index("Divergence problem It diverged.") < words.index("Mode collapse good step 10 Varied enough.")
    strange = replace(full(), verdicts=[Spoken("x", "unheard of", "Hm.", None)])
    assert "X note Hm." in Page(render(strange)).words


def test_what_a_verdict_rests_on_stands_below_it() -> None:
    measured = (("how far <apart> samples are", "94 %", "a fault below 40 %"),)
    verdict = Judged("mode collapse", "ok", "Varied.", 10, measured)
    words = Page(render(replace(full(), verdicts=[verdict]))).words
    assert (
        "Varied. What was measured Value What it is worth How far <apart> samples are 94 % a fault below 40 %" in words
    )


def test_what_was_not_stated_is_said_not_to_be() -> None:
    assert "Consent for the data not stated" in Page(render(full())).words
    assert "Licence of the data CC BY 4.0" in Page(render(full())).words


def test_a_figure_shows_all_it_rests_on() -> None:
    words = Page(render(full())).words
    for part in ("12.31 [12.02, 12.60] 95 % jackknife", "N = 500 against 360 real", "classifier (3fa92c1b)", "seed 7",
                 "estimate", "lower is better"):  # fmt: skip
        assert part in words


def test_a_picture_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="PNG or GIF"):
        render(replace(bare(), samples=b"<svg onload=alert(1)>" + bytes(40)))


def test_a_gif_keeps_its_size() -> None:
    gif = b"GIF89a" + struct.pack("<HH", 7, 5) + bytes(20)
    attributes = next(a for t, a in Page(render(replace(bare(), animation=gif))).tags if t == "img")
    assert (attributes["width"], attributes["height"]) == ("7", "5")
    assert (attributes["src"] or "").startswith("data:image/gif;base64,")


# --- comparison ---


def test_figures_measured_in_different_ways_share_no_column() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        column({"a": figure(), "b": figure(extractor_hash="other")})
    with pytest.raises(ValueError, match="cannot be compared"):
        column({"a": figure(direction="neither"), "b": figure(direction="neither", unit="m")})
    with pytest.raises(ValueError, match="at least one"):
        column({})


def test_rival_ways_of_measuring_get_tables_of_their_own_with_the_reason() -> None:
    """Two runs agree on the extractor and the third does not: it keeps its figure, apart, and the page says why."""
    runs = [replace(bare(), name=n, figures=[figure(v)]) for n, v in (("a", 10.0), ("b", 20.0))]
    odd = replace(bare(), name="c", figures=[figure(1.0, extractor="pixels", extractor_hash="0000")])
    found = boards(Comparison(title="t", runs=[odd, *runs]))
    assert [sorted(b.columns[0].figures) for b in found] == [["a", "b"], ["c"]]
    assert found[0].reason == ""
    assert "pixels" in found[1].reason
    assert "classifier" in found[1].reason
    words = Page(render_comparison(Comparison(title="t", runs=[odd, *runs]))).words
    assert "measured otherwise, see below" in words
    assert "different quantities, not to be compared" in words


def test_two_extractors_that_every_run_has_are_two_tables_without_rivalry() -> None:
    both = [figure(), figure(extractor="pixels", extractor_hash="0000")]
    found = boards(two(replace(bare(), name="a", figures=both), replace(bare(), name="b", figures=both)))
    assert [b.subject for b in found] == ["Features: classifier (3fa92c1b)", "Features: pixels (0000)"]
    assert not any(b.reason for b in found)


def test_runs_judged_on_different_data_are_not_set_side_by_side() -> None:
    a, b = (replace(bare(), name=n, data_identity=n * 20, figures=[figure()]) for n in "xy")
    found = boards(two(a, b))
    assert [list(t.runs) for t in found] == [["x"], ["y"]]
    assert all("different data" in t.reason for t in found)


def test_the_best_is_marked_only_where_intervals_lie_apart() -> None:
    apart = column({"a": figure(10.0, 1.0), "b": figure(13.0, 1.0), "c": figure(20.0, 9.0, direction="lower")})
    assert (apart.best, column({"a": figure(10.0, 1.0), "b": figure(13.0, 1.0)}).best) == (None, "a")
    assert apart.doubt == "not distinguishable: intervals overlap"
    assert list(apart.tied) == ["a", "c"]
    higher = column({"a": figure(10.0, 1.0, direction="higher"), "b": figure(13.0, 1.0, direction="higher")})
    assert higher.best == "b"


def test_touching_intervals_are_not_apart() -> None:
    assert not better(figure(10.0, 1.0), figure(12.0, 1.0))
    assert better(figure(10.0, 1.0), figure(12.001, 1.0))


def test_no_best_without_intervals_a_direction_or_equal_n() -> None:
    assert column({"a": figure(1.0, None), "b": figure(9.0, None)}).best is None
    assert column({"a": figure(1.0, 0.1, direction="neither"), "b": figure(9.0, 0.1, direction="neither")}).best is None
    name = "Frechet distance"
    unequal = column({"a": figure(1.0, 0.1, name=name, n=5000), "b": figure(9.0, 0.1, name=name)})
    assert (unequal.best, unequal.doubt) == (None, "not comparable: N differs, and this figure depends on it")
    assert column({"a": figure(1.0, 0.1, n=5000), "b": figure(9.0, 0.1)}).best == "a"  # freed of that bias


def test_a_bound_may_beat_an_exact_value_but_never_loses_to_one() -> None:
    bound, exact = figure(87.0, 0.2, kind="bound"), figure(90.0, 0.2, kind="exact")
    assert better(bound, exact)
    assert not better(figure(85.0, 0.2, kind="exact"), bound)
    doubted = column({"a": figure(85.0, 0.2, kind="exact"), "b": bound})
    assert (doubted.best, doubted.doubt) == (None, "not distinguishable: a bound never loses to an exact value")
    assert better(figure(85.0, 0.2, kind="bound"), bound)


def test_a_missing_figure_is_a_gap_and_no_rival() -> None:
    nll = figure(name="negative log-likelihood", extractor=None, extractor_hash=None)
    a = replace(bare(), name="a", figures=[figure(), nll])
    b = replace(bare(), name="b", figures=[figure(20.0)])
    assert not any(t.reason for t in boards(two(a, b)))


def test_the_page_of_several_runs_holds_each_run() -> None:
    page = Page(render_comparison(two()))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    links = {a["href"] for t, a in page.tags if t == "a"}
    assert len(ids) == len(set(ids)) == 2
    assert links == {f"#{i}" for i in ids}


def test_anchors_differ_where_names_look_alike() -> None:
    page = Page(render_comparison(two(replace(bare(), name="é!"), replace(bare(), name="é?"))))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(set(ids)) == 2


def test_a_comparison_needs_runs_with_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="at least two"):
        Comparison(title="t", runs=[bare()])
    with pytest.raises(ValueError, match="'bare' is there twice"):
        Comparison(title="t", runs=[bare(), bare()])


def test_figures_that_are_not_finite_draw_no_plot_and_break_no_page() -> None:
    broken = [figure(math.nan, None), figure(math.inf, None, name="precision"), figure(1.0, None, name="recall")]
    runs = [replace(full(), name=n, figures=broken) for n in "ab"]
    html = render_comparison(Comparison(title="t", runs=runs))
    Page(html)
    assert not re.search(r'[dxy]="[^"]*nan', html)


def test_exports_hold_every_figure_in_full_precision() -> None:
    comparison = two(replace(bare(), name="=cmd()", figures=[figure(1 / 3)]), replace(full(), name="b"))
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    assert len(rows) == 3
    assert float(rows[0]["value"]) == 1 / 3
    assert rows[0]["run"] == "'=cmd()"  # a spreadsheet must not run it
    parsed = json.loads(comparison_json(comparison))
    assert parsed[0]["run"] == "=cmd()"
    assert parsed[0]["value"] == 1 / 3
    assert comparison_csv(two(bare(), replace(bare(), name="other"))) == ""


def test_closest_samples_say_what_chance_does() -> None:
    assert "0.91 (3.4 % of unseen)" in Page(render(full())).text


def test_differences_beyond_chance_are_told_and_written() -> None:
    sure = Distinction(
        figure="FD", a="a", b="b", difference=-8.0, interval=(-9.0, -7.0), p=1e-9, method="from the intervals",
        direction="lower", adjusted=2e-9,
    )  # fmt: skip
    open_ = replace(sure, figure="=recall", direction="higher", p=0.2, adjusted=0.4)
    comparison = two(tests=[open_, sure])
    whole = Page(render_comparison(comparison)).words
    text = whole[whole.index("More than chance?") :]
    assert "a less b" in text
    assert text.index("FD") < text.index("not distinguishable")
    assert "< 0.0001" in text
    first, second = csv.DictReader(io.StringIO(differences_csv(comparison)))
    assert (first["figure"], first["better"], second["better"]) == ("'=recall", "", "a")
    assert float(second["adjusted"]) == 2e-9
    assert "More than chance" not in render_comparison(two())


def test_classes_have_a_table_of_their_own() -> None:
    share = Figure(name="share, class [red]", value=0.12, direction="neither", n=500, extractor="eyes")
    cover = Figure(name="coverage (k=5), class [red]", value=0.7, direction="higher", n=60, n_real=50, extractor="eyes")
    other = replace(cover, name="coverage (k=5), class blue", value=0.25)
    report = replace(full(), figures=[figure(), share, cover, other])
    page = Page(render(report)).words
    assert page.index("Frechet distance") < page.index("Class by class") < page.index("[red] 60 / 50 0.120 0.700")
    assert "blue 60 / 50 — 0.250" in page
    console = Console(width=100, file=io.StringIO())
    console.print(text_table(report.figures))
    said = " ".join(console.file.getvalue().split())
    assert "class samples / real share coverage (k=5) ↑ [red] 60 / 50 0.120 0.700 blue 60 / 50 0.250" in said
    assert "class [red]" not in render_comparison(two(report)).split("<article")[0]
