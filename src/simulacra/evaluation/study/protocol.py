"""A study's folder: what was decided before the first answer, hashed, and the stimuli under names that tell nothing.

    study.json        the protocol, with its SHA-256 under "digest"
    stimuli/ID.png    (.txt, .wav)
    answers.sqlite    appears with the first rater (``store``)
    study.html        the same study as one file that needs no server

Nothing in it is a path: a study may be moved or copied while it is not served.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simulacra.core.checkpoint import read_json, sync, told, write_json
from simulacra.core.randomness import Rng
from simulacra.evaluation.study import stimuli as media
from simulacra.evaluation.study.designs import DESIGNS, SPOILED, Design, Prefer, check_systems
from simulacra.evaluation.study.stimuli import MIME, SUFFIX, Kind, Stimulus
from simulacra.evaluation.study.trials import Item, Plan, check_base, sign

FORMAT = 1
NAME = "study.json"
SPOILED_COUNT = 16  # spoiled stimuli of a study, at most: raters in turn see different ones

CONSENT = (
    "You will be shown {what} and asked about each of them: {count} questions, about {minutes} minutes. Your answers,"
    " the time each took and how long things were on your screen are recorded under a random number. Nothing is"
    " recorded that says who you are: no name, no address, no browser. Taking part is voluntary; you may stop at any"
    " time by closing the page, and come back to it on the same device."
)
WHAT: dict[str, str] = {"picture": "pictures", "text": "texts", "sound": "sounds"}
SECONDS_EACH: dict[str, int] = {"picture": 5, "text": 20, "sound": 12}  # to tell raters roughly what awaits them


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """When a rater's or a trial's answers are left out: decided, stored and hashed before the first of them.

    checks    least share of attention checks answered rightly, 0 .. 1.
    fast_ms   an answer faster than this is hasty.
    hasty     largest share of hasty answers, 0 .. 1.
    finished  least share of the trials answered, 0 .. 1.
    frames    a timed trial counts only where the time shown differs from the time asked for by at most so many of the
              screen's own frames, and the page was visible throughout.
    """

    checks: float = 0.75
    fast_ms: float = 250.0
    hasty: float = 0.2
    finished: float = 1.0
    frames: float = 1.5

    def __post_init__(self) -> None:
        for name in ("checks", "hasty", "finished"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, 0 .. 1; got {getattr(self, name):g}")
        if self.fast_ms < 0 or self.frames < 0:
            raise ValueError(f"fast_ms and frames are at least 0; got {self.fast_ms:g} and {self.frames:g}")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as it was registered.

    plan       design, systems, stimuli, numbers of trials, seed.
    raters     finished raters after which nobody new is let in.
    exclusion  the rule by which answers are left out.
    title, consent  what a rater reads first.
    folder     where it is.
    """

    plan: Plan
    kind: Kind
    raters: int
    exclusion: Exclusion
    title: str
    consent: str
    folder: Path

    @property
    def design(self) -> Design:
        """What is asked."""
        return self.plan.design

    @property
    def digest(self) -> str:
        """SHA-256 of all that was decided: what is to be published before the first answer."""
        return _digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The protocol as a JSON value, without its digest."""
        p = self.plan
        return {
            "format": FORMAT,
            "design": {"name": p.design.name, **asdict(p.design)},  # pyright: ignore[reportArgumentType]
            "systems": list(p.systems),
            "each": p.each,
            "checks": p.checks,
            "seed": p.seed,
            "salt": p.salt,
            "matched": p.matched,
            "kind": self.kind,
            "raters": self.raters,
            "exclusion": asdict(self.exclusion),
            "title": self.title,
            "consent": self.consent,
            "items": [asdict(i) for i in p.items],
        }

    def file_of(self, item: str) -> Path:
        """Where a stimulus lies; the name is checked by the caller against the plan's."""
        return self.folder / "stimuli" / f"{item}{SUFFIX[self.kind]}"

    @property
    def mime(self) -> str:
        """The media type of its stimuli."""
        return MIME[SUFFIX[self.kind]]


def create(
    folder: Path,
    design: Design,
    systems: Mapping[str, Sequence[Stimulus]],
    *,
    each: int = 20,
    checks: int | None = None,
    raters: int = 20,
    exclusion: Exclusion | None = None,
    seed: int = 0,
    matched: bool = False,
    title: str = "",
    consent: str | None = None,
) -> Study:
    """Write a new study's folder.

    checks   attention checks a rater gets; a tenth of the trials, at least 2, unless given.
    matched  pairs are of the same source name; every system must have the same names.
    consent  what raters agree to; a plain text of what is recorded unless given.
    Raises ValueError for systems the design cannot ask about or a rater could tell apart by form, for too few
    stimuli, and for a folder that is not empty.
    """
    given = {name: list(stimuli) for name, stimuli in systems.items()}
    check_systems(design, tuple(given))
    kind = media.check_alike(given)
    if each < 1 or raters < 1 or (checks is not None and checks < 0):
        raise ValueError(f"each and raters are at least 1, checks at least 0; got {each}, {raters} and {checks}")
    if not isinstance(design, Prefer) and matched:
        raise ValueError(f"only pairs of systems can be matched by name; {design.name} shows other things")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not an empty folder; give another name")
    if matched:
        given = _aligned(given)
    count = len(design.shown(tuple(given), each))
    checks = max(2, count // 10) if checks is None else checks
    salt = secrets.token_hex(16)
    items, contents = _items(given, checks, seed, salt)
    plan = Plan(
        design=design,
        systems=tuple(given),
        items=items,
        each=each,
        checks=checks,
        seed=seed,
        salt=salt,
        matched=matched,
    )
    if problem := plan.problem():
        raise ValueError(problem)
    minutes = max(1, round(plan.length * SECONDS_EACH[kind] / 60))
    study = Study(
        plan=plan,
        kind=kind,
        raters=raters,
        exclusion=exclusion or Exclusion(),
        title=title or design.question,
        consent=CONSENT.format(what=WHAT[kind], count=plan.length, minutes=minutes) if consent is None else consent,
        folder=folder,
    )
    with told(f"write {folder}"):
        (folder / "stimuli").mkdir(parents=True)
        for item in items:  # whole once study.json is there, which comes last
            study.file_of(item.id).write_bytes(contents[item.id])
        sync(folder / "stimuli")
    write_json(folder / NAME, {**study.to_json(), "digest": study.digest})
    return study


def open_study(folder: Path | str) -> Study:
    """A study from its folder. ValueError of one line where there is none, or where it was changed since."""
    folder = Path(folder)
    if not (folder / NAME).is_file():
        raise ValueError(
            f"{folder} holds no study ({NAME} is missing); make one with simulacra study new, or say where it was moved"
        )
    value = read_json(folder / NAME)
    if value.get("format") != FORMAT:
        raise ValueError(
            f"{folder} is of study format {value.get('format')}; this version reads {FORMAT}: update simulacra"
        )
    digest = value.pop("digest", None)
    if _digest(value) != digest:
        raise ValueError(
            f"{folder / NAME} was changed after it was registered: its SHA-256 is {_digest(value)[:12]}, registered was"
            f" {str(digest)[:12]}; restore it, or make a new study"
        )
    about = dict(value["design"])
    design = DESIGNS[about.pop("name")](**about)
    plan = Plan(
        design=design,
        systems=tuple(value["systems"]),
        items=tuple(Item(**i) for i in value["items"]),
        **{k: value[k] for k in ("each", "checks", "seed", "salt", "matched")},
    )
    return Study(
        plan=plan, exclusion=Exclusion(**value["exclusion"]), folder=folder,
        **{k: value[k] for k in ("kind", "raters", "title", "consent")},
    )  # fmt: skip


def _digest(value: Mapping[str, Any]) -> str:
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def _aligned(systems: dict[str, list[Stimulus]]) -> dict[str, list[Stimulus]]:
    """Every system's stimuli in the order of their names; ValueError where the names differ."""
    names = {system: sorted(s.source for s in stimuli) for system, stimuli in systems.items()}
    first = next(iter(names))
    for system, own in names.items():
        if len(set(own)) != len(own):
            raise ValueError(f"{system!r} has two stimuli of one name; matched systems need one of each")
        if other := set(own) ^ set(names[first]):
            raise ValueError(
                f"matched systems need the same names; {sorted(other)[0]!r} is not in both {first!r} and {system!r}"
            )
    return {system: sorted(stimuli, key=lambda s: s.source) for system, stimuli in systems.items()}


def _items(
    systems: Mapping[str, Sequence[Stimulus]], checks: int, seed: int, salt: str
) -> tuple[tuple[Item, ...], dict[str, bytes]]:
    """Every stimulus under its name, and spoiled copies of some of them for the checks."""
    rng = Rng(seed)("spoil")
    base = list(systems[check_base(tuple(systems))])
    # no rater sees one twice; beyond that, a quarter of the stimuli at most is kept for checks
    count = min(max(checks, min(SPOILED_COUNT, len(base) // 4)), len(base)) if checks else 0
    if checks > count:
        raise ValueError(f"{checks} checks need as many stimuli of {check_base(tuple(systems))!r}; got {len(base)}")
    chosen = rng("which").permutation(len(base)).tolist()[:count]
    spoiled = [media.spoil(base[i], rng(i)) for i in chosen]
    everything = [(name, s) for name, stimuli in systems.items() for s in stimuli]
    everything += [(SPOILED, s) for s in spoiled]
    items, contents = [], {}
    for number, (system, stimulus) in enumerate(everything):
        name = sign(salt, f"item:{number}")
        digest = hashlib.sha256(stimulus.content).hexdigest()
        items.append(Item(id=name, system=system, source=stimulus.source, sha256=digest))
        contents[name] = stimulus.content
    # listed by their meaningless names, which shuffles them: neither files' dates nor their order tell a system
    return tuple(sorted(items, key=lambda i: (i.system, i.source, i.id))), dict(sorted(contents.items()))
