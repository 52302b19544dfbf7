"""Content credentials (C2PA): a signed manifest in a file, that says a model made it, by which run; and reading one.

What is written: the action c2pa.created with digitalSourceType trainedAlgorithmicMedia, and an assertion of our own,
org.simulacra.run, with the run's name and the SHA-256 of its recipe (C2PA Technical Specification 2.1, standard
assertions). No time-stamp authority is asked: nothing leaves the machine, and a manifest counts as long as the signer's
certificate does.

A manifest shows who signed a file and that it was not changed since. It can be taken out of a file by anyone.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from simulacra.responsibility.chains import INSTALL, Chain

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"  # IPTC NewsCodes
RUN = "org.simulacra.run"
TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".tif": "image/tiff", ".tiff": "image/tiff", ".avif": "image/avif", ".svg": "image/svg+xml",
    ".wav": "audio/wav", ".mp3": "audio/mpeg", ".flac": "audio/flac", ".mp4": "video/mp4", ".mov": "video/quicktime",
    ".avi": "video/x-msvideo", ".pdf": "application/pdf",
}  # fmt: skip
WRITABLE = tuple(kind for kind in TYPES if kind != ".pdf")
ABSENT = (
    "no manifest in this file. That does not show that a person made it: whoever made it may sign nothing, or the"
    " manifest may have been taken out"
)
State = Literal["Trusted", "Valid", "Invalid", "Absent"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which run made a file: its name, and the SHA-256 of its recipe.json in hexadecimal digits."""

    run: str
    recipe: str


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What a file's manifest comes to.

    state    "Trusted": signed by a certificate that a given root vouches for, and unchanged since; "Valid": unchanged
             since it was signed, by a certificate that nobody known vouches for; "Invalid": changed, forged, or signed
             with a certificate that was not valid; "Absent": there is no manifest.
    reasons  why it is not Trusted, in sentences.
    signer   the name in the certificate, or None.
    source   its digitalSourceType, or None.
    origin   the run that made it, if the manifest says so.
    """

    state: State
    reasons: tuple[str, ...]
    signer: str | None = None
    source: str | None = None
    origin: Origin | None = None


def sign(content: bytes, kind: str, chain: Chain, *, title: str, origin: Origin | None = None) -> bytes:
    """A file's content with a signed manifest in it; ValueError for content that is not of its kind.

    kind  the file's ending: ".png".
    """
    c2pa, version = _c2pa(), metadata.version("simulacra")
    actions = [{"action": "c2pa.created", "digitalSourceType": SOURCE,
                "softwareAgent": {"name": "simulacra", "version": version}}]  # fmt: skip
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions", "data": {"actions": actions}}]
    if origin is not None:
        assertions.append({"label": RUN, "data": {"run": origin.run, "recipe_sha256": origin.recipe}})
    manifest = {
        "claim_generator_info": [{"name": "simulacra", "version": version}],
        "title": title,
        "assertions": assertions,
    }
    # certificates of one's own are in no list: whether they are trusted is the reader's affair
    settings = {"verify": {"verify_trust": False, "remote_manifest_fetch": False, "ocsp_fetch": False}}
    info = c2pa.C2paSignerInfo(chain.algorithm, chain.certificates, chain.private_key, None)
    out = io.BytesIO()
    try:
        context = c2pa.Context.from_dict(settings)
        c2pa.Builder.from_json(json.dumps(manifest), context=context).sign(
            c2pa.Signer.from_info(info), _type(kind, WRITABLE), io.BytesIO(content), out
        )
    except c2pa.C2paError as error:
        raise ValueError(f"{title} cannot be signed ({error}); expected a whole {kind} file and a certificate for"
                         " signing") from None  # fmt: skip
    return out.getvalue()


def sign_file(path: Path, chain: Chain, *, out: Path | None = None, origin: Origin | None = None) -> Path:
    """Sign a file, in place unless ``out`` is given; where it fails the file stays as it is."""
    out = path if out is None else out
    signed = sign(path.read_bytes(), path.suffix.lower(), chain, title=out.name, origin=origin)
    part = out.with_name(out.name + ".part")
    part.write_bytes(signed)
    part.replace(out)
    return out


def inspect(content: bytes, kind: str, *, roots: bytes = b"") -> Inspected:
    """What the manifest of a file's content comes to; ``roots``: certificates, PEM, that are trusted to vouch."""
    c2pa = _c2pa()
    settings: dict[str, Any] = {"verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}}
    if roots:
        settings["trust"] = {"user_anchors": roots.decode()}
    try:
        reader = c2pa.Reader(_type(kind, tuple(TYPES)), io.BytesIO(content), context=c2pa.Context.from_dict(settings))
    except c2pa.C2paError.ManifestNotFound:
        return Inspected(state="Absent", reasons=(ABSENT,))
    except c2pa.C2paError as error:
        return Inspected(state="Invalid", reasons=(f"the manifest, or the file, cannot be read: {error}",))
    with reader:
        state, active = reader.get_validation_state(), reader.get_active_manifest() or {}
        found = (reader.get_validation_results() or {}).get("activeManifest", {}).get("failure", [])
    reasons = tuple(f"{f['code']}: {f.get('explanation', '')}" for f in found)
    data = {a["label"]: a.get("data", {}) for a in active.get("assertions", [])}
    actions = next((d.get("actions", []) for name, d in data.items() if name.startswith("c2pa.actions")), [])
    run = data.get(RUN)
    return Inspected(
        state=state if state in ("Trusted", "Valid") else "Invalid",
        reasons=reasons,
        signer=active.get("signature_info", {}).get("common_name"),
        source=next((a["digitalSourceType"] for a in actions if "digitalSourceType" in a), None),
        origin=Origin(run=run["run"], recipe=run["recipe_sha256"]) if run else None,
    )


def holds_manifest(content: bytes) -> bool:
    """Whether a file's content looks as if it held a manifest, signed or not: the name of its box is in it."""
    return b"c2pa" in content


def _type(kind: str, known: tuple[str, ...]) -> str:
    if kind not in known:
        raise ValueError(f"no manifest goes into a file with ending {kind or '(none)'}; expected {', '.join(known)}")
    return TYPES[kind]


def _c2pa() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return c2pa
