"""The rater's page, served or as one file: the same script, with a server's answers or with its own.

Neither says which stimulus is of which system. The static file holds the trials of every planned rater by meaningless
names, the stimuli as data, and no right answer: a timed study uses constant exposures there, see ``designs.Timed``.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from simulacra.evaluation.study.designs import Timed
from simulacra.evaluation.study.protocol import Study

MOST_BYTES = 200 * 2**20  # of a static page: beyond it browsers become slow to open it


def served_page(study: Study) -> str:
    """The page that asks the server for every trial."""
    return _page(study, _about(study))


def static_page(study: Study) -> str:
    """The study as one file. ValueError where its stimuli are too much for one."""
    total = sum(study.file_of(i.id).stat().st_size for i in study.plan.items)
    if total * 4 // 3 > MOST_BYTES:
        raise ValueError(
            f"the stimuli take {total / 2**20:.0f} MiB, a page of one file at most {MOST_BYTES * 3 // 4 // 2**20};"
            " serve the study, or give fewer or smaller stimuli"
        )
    assignments = [
        [{"id": t.id, "items": t.items, "exposure_ms": t.exposure} for t in study.plan.trials(rater)]
        for rater in range(study.raters)
    ]
    items = {i.id: _data_uri(study.mime, study.file_of(i.id).read_bytes()) for i in study.plan.items}
    return _page(study, {**_about(study), "assignments": assignments, "items": items})


def policy(*, served: bool) -> str:
    """The Content-Security-Policy of the page: its own script and style, its own server where it has one, no other."""
    own = "'self' data: blob:" if served else "data: blob:"
    connect = " connect-src 'self';" if served else ""
    script = f"script-src 'sha256-{script_digest(asset('study', 'study.js'))}'"
    return (
        f"default-src 'none';{connect} img-src {own}; media-src {own}; style-src 'unsafe-inline'; {script};"
        " base-uri 'none'; form-action 'none'"
    )


def render(template: str, values: Mapping[str, Any]) -> str:
    """A template of the study's, which may use those of the reports."""
    return _environment().get_template(template).render(**values)


@cache
def asset(package: str, name: str) -> Markup:
    """A file of ours that goes into a page as it is."""
    folder = importlib.resources.files(f"simulacra.evaluation.{package}") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def script_digest(script: str) -> str:
    """The digest by which a page allows a script of its own."""
    return _sha256(script)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([
            PackageLoader("simulacra.evaluation.study", "templates"),
            PackageLoader("simulacra.evaluation.report", "templates"),
        ]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["capital"] = lambda text: text[:1].upper() + text[1:]
    return environment


def _page(study: Study, about: Mapping[str, Any]) -> str:
    # "<" is written so that no text can close the element it stands in
    data = Markup(json.dumps(about, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c"))
    return render(
        "study.html",
        {
            "study": study,
            "about": data,
            "timed": about["timed"],
            "policy": policy(served="assignments" not in about),
            "style": asset("study", "study.css"),
            "script": asset("study", "study.js"),
        },
    )


def _about(study: Study) -> dict[str, Any]:
    """What the page needs to know, none of which tells a system."""
    design = study.design
    return {
        "study": study.digest,
        "title": study.title,
        "question": design.question,
        "choices": [asdict(c) for c in design.choices],
        "kind": study.kind,
        "timed": isinstance(design, Timed),
        "mask_ms": design.mask if isinstance(design, Timed) else 0,
        "of": study.plan.length,
    }


def _data_uri(mime: str, content: bytes) -> str:
    return f"data:{mime.replace(' ', '')};base64,{base64.b64encode(content).decode()}"


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
