"""``mark`` and ``verify``: keys, marks in pictures, and whether pictures or texts carry one."""

from __future__ import annotations

import dataclasses
import json as json_
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import say
from simulacra.core.space import Space
from simulacra.modalities import raster
from simulacra.modalities.images import picture_field
from simulacra.modalities.samples import is_pictures
from simulacra.modalities.text import read_samples_of_text
from simulacra.responsibility.inversion import recovered
from simulacra.responsibility.keys import read_key, write_new_key
from simulacra.responsibility.latent import LatentMark
from simulacra.responsibility.marking import bits_of
from simulacra.responsibility.pixels import LEAST, MESSAGE, PixelMark
from simulacra.responsibility.tokens import Green, Mark, Tournament
from simulacra.responsibility.verdicts import Verdict
from simulacra.runs import load

TEXTS = (".txt", ".smi", ".jsonl")
LOSSLESS = (".png", ".bmp", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marking:
    """What to make or mark.

    Attributes:
        new_key: make a key file here, readable by you alone; it is never overwritten, and whoever has it can find
            and forge your marks.
        key: the key file to mark with.
        out: the marked picture, FILE.png.
        message: up to 16 bits that the mark carries, as 1011.
    """

    new_key: Path | None = None
    key: Path | None = None
    out: Path = Path("marked.png")
    message: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verifying:
    """What to look for.

    Attributes:
        key: the key file that the mark was made with.
        rate: false-positive rate, for all that is looked at together.
        run: the run that drew them: a text's mark is in its tokens; in pictures one in its latent is looked for too.
        json: print the verdicts as JSON.
    """

    key: Path
    rate: float = 1e-6
    run: Path | None = None
    json: JsonFlag = False


def main_mark(arguments: Sequence[str]) -> None:
    """A new key, or a picture marked with one."""
    making = "--new-key" in arguments or any(a.startswith("--new-key=") for a in arguments)
    found, rest = ([], list(arguments)) if making else positionals(arguments, ("PICTURE",), "mark (or --new-key FILE)")
    options = parse(Marking, rest, verb="mark PICTURE | mark --new-key FILE")
    if options.new_key is not None:
        key = write_new_key(options.new_key)
        say(f"{options.new_key}: a new key, known as {key.name}. Keep it secret, and keep a copy: without it no mark"
            " made with it can be found")  # fmt: skip
        return
    if options.key is None:
        raise ValueError("mark needs --key FILE; make one with `simulacra mark --new-key FILE`")
    if options.out.suffix.lower() not in LOSSLESS:
        raise ValueError(f"{options.out}: a marked picture is written without loss; expected .png")
    message = bits_of(options.message)
    mark = PixelMark(key=read_key(options.key))
    marked = mark.mark(_picture(Path(found[0])), message)
    Image.fromarray(marked).save(options.out)
    say(f"{options.out}: marked with key {mark.key.name}")


def main_verify(arguments: Sequence[str]) -> None:
    """Whether pictures or texts carry the mark of a key, with the rate of false alarms controlled."""
    found, rest = positionals(arguments, ("FILE|FOLDER",), "verify")
    options = parse(Verifying, rest, verb="verify FILE|FOLDER")
    if not 0 < options.rate < 1:
        raise ValueError(f"a rate lies between 0 and 1; got {options.rate}")
    path = Path(found[0])
    verdicts = _texts(path, options) if path.suffix.lower() in TEXTS else _pictures(path, options)
    if options.json:
        print(json_.dumps([_record(name, v, options.rate, len(verdicts)) for name, v in verdicts], indent=1))
        return
    for name, v in verdicts:
        say(f"{name}: {v.words(options.rate, len(verdicts))}")
        if v.found(options.rate, len(verdicts)) and v.message is not None:
            say(f"{name}: message {_bits(v.message)}")


def _pictures(path: Path, options: Verifying) -> list[tuple[str, Verdict]]:
    key, pictures = read_key(options.key), _read(path)
    if options.run is None:
        return [(name, PixelMark(key=key).look(x)) for name, x in pictures]
    run, found = load(options.run), []
    if not is_pictures(run.recipe.space):
        raise ValueError(f"{options.run} is a run of {run.recipe.space.measure}, and {path.name} is pictures")
    x = torch.cat([_as_drawn(x, run.recipe.space) for _, x in pictures])
    hidden = LatentMark(key=key).look(list(recovered(run.model, x)))
    for (name, x), v in zip(pictures, hidden, strict=True):
        found.append((f"{name}, latent of {options.run.name}", v))
        if min(x.shape[:2]) >= LEAST:
            found.append((f"{name}, pixels", PixelMark(key=key).look(x)))
    return found


def _read(path: Path) -> list[tuple[str, np.ndarray]]:
    """The pictures there by name, uint8 (h, w) or (h, w, c)."""
    if path.suffix == ".npy":
        return [(f"{path}[{i}]", x) for i, x in enumerate(np.load(path, allow_pickle=False))]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as held:
            return [(f"{path}[{i}]", x) for i, x in enumerate(held["x"])]
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in raster.SUFFIXES)
        if not files:
            raise ValueError(f"{path}: no picture among its files")
    return [(str(file), _picture(file)) for file in files]


def _as_drawn(picture: np.ndarray, space: Space) -> torch.Tensor:
    """A picture as the run draws them: its channels, its size (resized if another) and its levels, (1, c, h, w)."""
    field = picture_field(space)
    c, h, w = field.shape
    image = Image.fromarray(picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture)
    image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[c])
    image = image if image.size == (w, h) else image.resize((w, h), Image.Resampling.LANCZOS)
    levels = torch.from_numpy(np.array(image).reshape(h, w, c)).permute(2, 0, 1)[None].float()
    return field.value((levels * (((field.levels or 256) - 1) / 255)).round())


def _texts(path: Path, options: Verifying) -> list[tuple[str, Verdict]]:
    """All texts of a file together: pairs of context and token that come twice count once."""
    if options.run is None:
        raise ValueError(f"{path}: the mark of a text is in the tokens of the run that drew it; give --run RUN")
    run, key = load(options.run), read_key(options.key)
    if run.encoding is None:
        raise ValueError(f"{options.run} is a run of {run.recipe.space.measure}, and {path.name} is text")
    tokens = [run.encoding.encode(text).tolist() for text in read_samples_of_text(path)]
    outputs = outputs_of(run.recipe.space.only)
    return [(f"{path}, {mark_name(m)}", m.look_at_all(tokens, outputs)) for m in (Green(key=key), Tournament(key=key))]


def outputs_of(field: object) -> int:
    """How many outputs a model of sequences of this field has, an end included."""
    return getattr(field, "k") + bool(getattr(field, "varying"))  # noqa: B009


def mark_name(mark: Mark) -> str:
    """A mark in tokens, in words."""
    return "green list" if isinstance(mark, Green) else "tournament"


def _picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            kept = image.convert("RGB" if image.mode not in ("L", "RGBA") else image.mode)
            return np.array(kept)
    except OSError as error:
        raise ValueError(f"{path}: no picture that can be read ({error.strerror or 'not recognised'})") from error


def _record(name: str, v: Verdict, rate: float, examples: int) -> dict[str, object]:
    return {
        "name": name, "p": v.p, "matches": v.matches, "trials": v.trials, "found": v.found(rate, examples),
        "message": _bits(v.message) if v.found(rate, examples) and v.message is not None else None,
        "rate": rate, "in words": v.words(rate, examples),
    }  # fmt: skip


def _bits(message: tuple[bool, ...]) -> str:
    assert len(message) == MESSAGE
    return "".join(str(int(bit)) for bit in message)
