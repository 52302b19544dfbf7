"""What was found, in words made from the numbers alone: no sentence here knows how the experiment came out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from simulacra.evaluation.versus.sweeps import Sweep, tempered, told
from simulacra.mathematics.crossings import Crossing, Verdict, band, crossing, reached, slope

AHEAD: dict[Verdict, str] = {
    "first": "only the density-based classifier is ever ahead",
    "second": "only the discriminative one is ever ahead",
    "crosses": "the density-based one is ahead at first, the discriminative one later",
    "crosses back": "the discriminative one is ahead at first, the density-based one later",
    "several": "they cross more than once",
    "neither": "they cannot be told apart",
}
NEAR = 0.03  # of the error at the largest size: near enough to count as having arrived


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A sweep, how its pair lies, and both in a sentence."""

    sweep: Sweep
    found: Crossing
    text: str


def compare(sweep: Sweep, pair: tuple[str, str] | None = None) -> Finding:
    """The sweep's pair, or another two of it: where which is better, where they cross."""
    one, two = pair or sweep.pair
    found = crossing(sweep.values, sweep.results[one] - sweep.results[two], logarithmic=sweep.logarithmic)
    return Finding(sweep=sweep, found=found, text=sentence(sweep, found, one, two))


def sentence(sweep: Sweep, found: Crossing, one: str, two: str) -> str:
    """How two curves lie, in words."""
    n = len(sweep.results[one])
    along = f"from {written(sweep.values[0])} to {written(sweep.values[-1])}"
    if found.verdict == "neither":
        return (
            f"{capital(one)} and {two} cannot be told apart anywhere {along} ({sweep.axis}); no crossing seen in this"
            f" range, {n} repetitions."
        )
    if found.verdict in ("first", "second"):
        better, worse, places = (one, two, found.first) if found.verdict == "first" else (two, one, found.second)
        rest = len(sweep.values) - len(places)
        where = f"everywhere {along}"
        if rest:
            where = f"at {listed(places, sweep.values)}, and elsewhere {along} they cannot be told apart"
        return (
            f"{capital(better)} has the lower {sweep.measure} than {worse} {where} ({sweep.axis}); no crossing seen in"
            " this range."
        )
    of_one, of_two = (listed(places, sweep.values) if places else "" for places in (found.first, found.second))
    if found.verdict == "several":
        return f"{capital(one)} is ahead at {of_one}, {two} at {of_two} ({sweep.axis}): they cross more than once."
    assert found.interval is not None
    low, high = found.interval
    order = [(one, of_one), (two, of_two)]
    (first, ahead), (later, behind) = order if found.verdict == "crosses" else order[::-1]
    return (
        f"{capital(first)} is ahead at {ahead}, {later} at {behind} ({sweep.axis}); the curves cross at"
        f" {about(found.place or low)}, 95 % interval {about(low)} to {about(high)}."
    )


def listed(places: Sequence[float], values: Sequence[float]) -> str:
    """Some of an axis' values, neighbours together: "8 to 32 and 256", "10, 40 and 160"."""
    runs: list[list[float]] = []
    for value in values:
        if value in places:
            if runs and values.index(runs[-1][-1]) + 1 == values.index(value):
                runs[-1].append(value)
            else:
                runs.append([value])
    shown = [written(r[0]) if len(r) == 1 else f"{written(r[0])} to {written(r[-1])}" for r in runs]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def written(value: float) -> str:
    """A measured place on an axis, as it is."""
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"


def about(value: float) -> str:
    """A place that was reckoned: two significant digits, three above 1,000."""
    if value < 10:
        return f"{value:.2g}"
    return f"{round(value, min(0, 1 - math.floor(math.log10(value)) + (value >= 1000))):,.0f}"


def interval(sweep: Sweep, who: str, place: int = -1) -> tuple[float, tuple[float, float]]:
    """Mean over repetitions at one of the values, and its 95 % interval."""
    found = band(sweep.results[who])
    return float(found.mean[place]), (float(found.low[place]), float(found.high[place]))


def learning(findings: Sequence[Finding], pair: tuple[str, str]) -> list[str]:
    """All learning curves of a pair together, in sentences."""
    n = len(findings)
    count = {
        v: [f for f in findings if f.found.verdict == v]
        for v in ("crosses", "crosses back", "several", "first", "second", "neither")
    }
    if not findings:
        return []
    one, two = pair
    said = [
        f"Of {n} data sets the curves of {one} and {two} cross in {len(count['crosses'])} as Ng and Jordan expect it"
        f" ({one} ahead of {two} on few examples and behind on many), and the other way round in"
        f" {len(count['crosses back'])}."
    ]
    said += [
        f"{text}: {names(count[v])}."
        for v, text in (
            ("first", f"No crossing was seen, {one} being ahead wherever the two can be told apart"),
            ("second", f"No crossing was seen, {two} being ahead wherever the two can be told apart"),
            ("neither", "The two could not be told apart at all"),
            ("several", "The curves cross more than once"),
        )
        if count[v]
    ]  # fmt: skip
    few = [f for f in findings if f.sweep.values[0] in f.found.first]
    many = [f for f in findings if f.sweep.values[-1] in f.found.second]
    said.append(
        f"At the fewest examples {one} is ahead in {len(few)} of {n}; at the most {two} is ahead in {len(many)} of {n}."
    )
    return said


def names(findings: Sequence[Finding]) -> str:
    """The tasks of some findings."""
    return ", ".join(f"“{f.sweep.task}”" if "," in f.sweep.task else f.sweep.task for f in findings)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """From how many examples on each method stays within ``NEAR`` of where it ends; None: not before the last size."""

    task: str
    features: int
    sizes: Mapping[str, float | None]


def arrivals(sweeps: Sequence[Sweep], near: float = NEAR) -> list[Arrival]:
    """How soon each method is near its own error at the most examples, or near the least error where that is known."""
    found = []
    for s in sweeps:
        means = {who: values.mean(0) for who, values in s.results.items()}
        ends = {who: float(m[-1]) if s.asymptote is None else s.asymptote for who, m in means.items()}
        # the last size is the yardstick: to be near it only there says nothing
        reach = {who: reached(s.values[:-1], m[:-1], ends[who] + near) for who, m in means.items()}
        found.append(Arrival(task=s.task, features=s.features, sizes=reach))
    return found


def theory(sweeps: Sequence[Sweep]) -> list[str]:
    """Ng and Jordan's sample complexities beside what was measured: order log d for the one, order d for the other."""
    if not sweeps:
        return []
    found, (one, two) = arrivals(sweeps), sweeps[0].pair
    both = [(a.sizes[one], a.sizes[two]) for a in found]
    pairs = [(a, b) for a, b in both if a is not None and b is not None]
    sooner = sum(a < b for a, b in pairs)
    where = "the least error there is" if sweeps[0].asymptote is not None else "its own error at the most examples"
    said = [
        f"{capital(one)} comes within {NEAR} of {where} on fewer examples than {two} in {sooner} of {len(pairs)}"
        " (those in which both do so before the largest size)."
    ]
    for who in sweeps[0].results:
        points = [(math.log(a.features), math.log(a.sizes[who] or 1.0)) for a in found if a.sizes[who] is not None]
        if len({x for x, _ in points}) < 3:
            continue
        x, y = torch.tensor(points, dtype=torch.float64).T
        value, (low, high) = slope(x, y)
        said.append(
            f"For {who} that number grows like the {value:.2f}th power of the number of features [{low:.2f},"
            f" {high:.2f}], {len(points)} data sets: {_verdict(low, high)}."
        )
    return said


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _verdict(low: float, high: float) -> str:
    """What an interval of the exponent says of growth like log d (exponent near 0) and like d (exponent 1)."""
    slow, straight = low <= 0 <= high, low <= 1 <= high
    if slow and straight:
        return "too wide to tell growth in proportion from none"
    if straight:
        return "growth in proportion (exponent 1) lies within, none (0, which a logarithm is like) does not"
    if slow:
        return "no growth by a power (0, which a logarithm is like) lies within, growth in proportion (1) does not"
    return "neither growth in proportion (1) nor none by a power (0) lies within"


def base(sweep: Sweep, who: str) -> str:
    """The method that a name is of, without what was done to it: the shortest name in the sweep that it begins with."""
    return min((name for name in sweep.results if who == name or who.startswith(f"{name}, ")), key=len)


def of_pair(sweep: Sweep) -> list[str]:
    """The names of the pair's methods, with whatever was done to them."""
    both = {base(sweep, who) for who in sweep.pair}
    return [who for who in sweep.results if base(sweep, who) in both]


def pairs(sweep: Sweep) -> list[tuple[str, str]]:
    """Who is compared in a sweep: its pair first, then the pair as changed alike, then against the completed."""
    one, two = (base(sweep, who) for who in sweep.pair)
    found = [sweep.pair]
    for change in (tempered, told):
        alike = (change(one), change(two))
        if alike != sweep.pair and all(who in sweep.results for who in alike):
            found.append(alike)
    found += [(one, who) for who in sweep.results if who.startswith(f"{two}, completed")]
    if two != sweep.pair[1]:
        found.append((one, two))
    elif f"{two}, unpenalised" in sweep.results:
        found.append((one, f"{two}, unpenalised"))
    return found


def question(sweep: Sweep) -> str:
    """What was asked, whatever the data: for sentences over several of them."""
    return f"{sweep.asked.partition(',')[0].partition(' among')[0].partition(':')[0]}, {sweep.measure}"


def over(sweeps: Sequence[Sweep], asked: str) -> list[str]:
    """A question over several data sets in a sentence for each kind of pair."""
    kinds: dict[str, list[Finding]] = {}
    for sweep in sweeps:
        one, two = (base(sweep, who) for who in sweep.pair)
        for pair in pairs(sweep):
            how = pair[1].removeprefix(two) if pair != (one, two) else ""
            how = ", completed by the other" if how.startswith(", completed") else how
            kinds.setdefault(how, []).append(compare(sweep, pair))
    found = []
    for how, several in kinds.items():
        ahead = {v: names([f for f in several if f.found.verdict == v]) for v in AHEAD}
        said = "; ".join(f"{text} on {ahead[v]}" for v, text in AHEAD.items() if ahead[v])
        found.append(f"{capital(asked)}{' (' + how.removeprefix(', ') + ')' if how else ''}: {said}.")
    return found
