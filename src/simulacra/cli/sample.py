"""``simulacra sample RUN -n N --out FILE``."""

from __future__ import annotations

import dataclasses
import inspect
import time
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import tyro
from torch import Tensor

from simulacra.cli import provenance
from simulacra.cli.inputs import HELD_OUT
from simulacra.cli.parse import AtMost, parse, positionals
from simulacra.cli.words import say, warn
from simulacra.core.capabilities import ConditionalSampler, Critic, Prompted, Sampler, require
from simulacra.core.prompts import Prompt
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.decoding import chosen as decoding
from simulacra.modalities.samples import is_pictures, write_samples
from simulacra.modalities.text import write_texts
from simulacra.recipes.vocabulary import SETTINGS
from simulacra.responsibility.keys import Key, read_key
from simulacra.responsibility.latent import LatentMark
from simulacra.responsibility.marking import bits_of, marked
from simulacra.responsibility.tokens import Green, Mark, Tournament
from simulacra.runs import Run, load

T = TypeVar("T")
ARRAYS = (".npy", ".npz", "")  # what holds pictures one by one, a folder included


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to draw, and where to.

    Attributes:
        n: how many examples.
        out: FILE.png for a grid, FILE.npy or FILE.npz for an array, anything else is a folder of pictures; texts go to
            FILE.txt or FILE.jsonl, molecules to FILE.smi, FILE.csv with their properties, or a grid of structures
            FILE.svg or FILE.png, tunes to FILE.mid (several to FILE-1.mid ... or a folder), FILE.wav or piano rolls
            FILE.png, rows to FILE.csv or FILE.parquet. samples.png, .txt, .smi, .mid or .csv unless given.
        y: a class, by its name or number; drawn from the labels' marginal unless given. Of a run of captions, a
            caption (--caption is the same), or "held-out" for those of its held-out part, one each.
        given: of a table: columns that every row is to have, as age=40 sex=Female.
        average: width of the weights' average, made of those a run fitted with --snapshots has stored: 0.05, 0.1 ...
        guide: another run, of a weaker model of the same data, to be guided away from (with --guidance 2, say).
        mark: a key file to mark what is drawn with: pictures in their pixels, texts in the choice of their tokens.
        mark_in: where pictures are marked: in their pixels, or in the latent they are drawn from, which changes
            nothing of how they look and is found with the run alone (verify FILE --run RUN).
        mark_message: up to 16 bits that the mark of pictures carries, as 1011.
        mark_tokens: how tokens are marked: tournament keeps the model's distribution, green is found in shorter texts.
        sign: the signer's certificates, FILE.pem, its key FILE.key beside them: pictures and sound get a signed
            manifest (C2PA) that says that this run made them, all else what --metadata writes, unsigned.
        metadata: write into what is drawn, or beside it as FILE.origin.json, that this run made it; unsigned.
        reject: keep what the critic finds real and draw the rest again (discriminator rejection sampling); of a GAN
            whose game is minimax, non-saturating or relativistic.
        percentile: with --reject, of the odds at which half is kept: higher keeps fewer and better samples.
        seed: the same seed draws the same examples, whatever n: the first 8 of 64 are those of 8.
        prompt: what texts begin with: they are written to the terminal as they are drawn, one unless n is given. Of
            music, the .mid file that tunes go on from.
        tokens: how many tokens, events or frames follow a prompt, at most; 500 unless given, 16 between a prompt and a
            suffix.
        suffix: what texts end with: what stands between prompt and suffix is drawn (--prompt may be left out).
        draws: middles that are drawn from the model and weighed by how well the suffix follows them.
    """

    n: AtMost = None
    out: Path | None = None
    y: Annotated[str | None, tyro.conf.arg(aliases=["--caption"])] = None
    given: tuple[str, ...] = ()
    average: float | None = None
    guide: Path | None = None
    mark: Path | None = None
    mark_in: Literal["pixels", "latent"] = "pixels"
    mark_message: str = ""
    mark_tokens: Literal["tournament", "green"] = "tournament"
    sign: Path | None = None
    metadata: bool = False
    reject: bool = False
    percentile: float = 80.0
    seed: int = 0
    prompt: str | None = None
    tokens: int | None = None
    suffix: str | None = None
    draws: int = 64


def main(arguments: Sequence[str]) -> None:
    """Draw new examples from a run."""
    path, rest = positionals(arguments, ("RUN",), "sample")
    if not path:
        parse(Options, rest, verb="sample RUN")
        return
    run = load(path[0])
    if isinstance(run.model, ConditionalSampler) and not isinstance(run.model, Sampler):
        method = run.model.sample_given
    else:
        method = require(run.model, Sampler, "sample").sample
    options, own = with_own(
        Options(), method, ("n", "y", "y_length", "rng", "guide", "changes", "legal"), rest, "sample RUN"
    )
    run = run if options.average is None else run.averaged(options.average)
    guide = None if options.guide is None else load(options.guide)
    if options.reject:
        require(run.model, Critic, "--reject")
        if run.table is not None:
            raise ValueError("rows of a table are drawn as they come; leave --reject out")
    if options.given and run.table is None:
        raise ValueError(f"columns are given to runs of tables, and this is one of {run.recipe.space.measure}")
    key = None if options.mark is None else read_key(options.mark)
    if key is not None and run.table is not None:
        raise ValueError("rows of a table carry no mark; leave --mark out")
    message = bits_of(options.mark_message)
    hidden = _latent_mark(run, key, options)
    chain = None if options.sign is None else provenance.chain_of(options.sign)
    says = chain is not None or options.metadata
    shown = run.encoding is not None and not (options.prompt is None and options.suffix is None)
    if says and shown and options.out is None:
        raise ValueError("what is written to the terminal holds no manifest and no metadata; give --out FILE.txt")
    before = provenance.standing(_name(run, options)) if says else {}
    out = _drawn(run, method, options, own, guide=guide, key=key, hidden=hidden, message=message)
    if out is not None and says:
        say(provenance.say_origin(provenance.written(out, before), chain, provenance.origin_of(Path(path[0]))))


def _name(run: Run, options: Options) -> Path:
    """Where what is drawn is written to: as asked, or by what it is."""
    if options.out is not None:
        return options.out
    if run.table is not None:
        return Path("samples.csv")
    modality = run.recipe.data.get("modality")
    if modality in ("music", "frames"):
        return Path("samples.mid")
    if run.encoding is None:
        return Path("samples.png")
    return Path("samples.smi" if modality == "molecules" else "samples.txt")


def _drawn(
    run: Run,
    method: Callable[..., Any],
    options: Options,
    own: dict[str, Any],
    *,
    guide: Run | None,
    key: Key | None,
    hidden: LatentMark | None,
    message: tuple[bool, ...],
) -> Path | None:
    """Draw, write and tell; the file or folder that was written."""
    out = _name(run, options)
    if run.table is not None:
        from simulacra.cli import tables

        tables.draw(run, 64 if options.n is None else options.n, out,
                    given=options.given, y=options.y, seed=options.seed, own=own)  # fmt: skip
        return out
    music = run.recipe.data.get("modality") in ("music", "frames")
    if options.suffix is not None:
        return _infill(run, options, key)
    if options.prompt is not None and not music:
        return _continue(run, options, own, _changes(method, key, options))
    if key is not None and music:
        raise ValueError("tunes carry no mark; leave --mark out")
    if options.prompt is not None:
        from simulacra.cli.music import write_tunes
        from simulacra.cli.tunes import continued

        count = options.n or 1
        tunes = continued(run, Path(options.prompt), count, options.tokens or 500, own=own, seed=options.seed,
                          y=run.labels(options.y, count))  # fmt: skip
        say(write_tunes(tunes, out))
        return out
    if key is not None and run.encoding is not None:
        own = {**own, "changes": _changes(method, key, options)}
    n, began = 64 if options.n is None else options.n, time.perf_counter()
    y: str | Tensor | None = options.y
    if y == HELD_OUT and isinstance(run.recipe.space.y, Space):
        held = run.data().held_out
        given = held.batch(torch.arange(n) % len(held), Rng(options.seed)).y
        assert isinstance(given, Tensor)
        y = given
    marks = {} if hidden is None else {"mark": hidden, "message": message}
    kept = options.percentile if options.reject else None
    batch = run.sample(n, y=y, seed=options.seed, guide=guide, reject=kept, **marks, **own)
    if music:
        from simulacra.cli.music import write_tunes

        assert isinstance(batch.x, Tensor)
        told = _rate(int(batch.length.sum()) if batch.length is not None else batch.x.numel(), began)
        say(f"{write_tunes(run.tunes(batch), out)}, {told}")
        return out
    if run.encoding is None:
        if key is not None and hidden is None:
            batch = marked(batch, run.recipe.space, key, message=message, grid=out.suffix not in ARRAYS)
        say(write_samples(batch, run.recipe.space, out) + ("" if key is None else f", marked with key {key.name}"))
        return out
    assert isinstance(batch.x, Tensor)
    told = _rate(batch.x.numel() if batch.length is None else int(batch.length.sum()), began)
    say(f"{_write(run, run.texts(batch), out)}, {told}")
    return out


def _write(run: Run, texts: Sequence[str], out: Path) -> str:
    """Texts, or molecules, as the name of a file asks."""
    if run.recipe.data["modality"] != "molecules":
        return write_texts(texts, out)
    from simulacra.cli.molecules import write_molecules

    return write_molecules(texts, out)


def _latent_mark(run: Run, key: Key | None, options: Options) -> LatentMark | None:
    """The mark in the latent that is asked for; ValueError, before anything is drawn, where there can be none."""
    if options.mark_in == "pixels":
        return None
    if key is None:
        raise ValueError("--mark-in says where --mark KEY goes; give --mark KEY, or leave it out")
    if not is_pictures(run.recipe.space):
        raise ValueError(
            f"a mark in the latent is of pictures, and this run is of {run.recipe.space.measure}; leave --mark-in out"
        )
    if (out := _name(run, options)).suffix not in ARRAYS:
        raise ValueError(
            f"{out}: a mark belongs to one picture, not to a grid of many; write to a folder, .npy or .npz"
        )
    return LatentMark(key=key)


def _changes(method: Callable[..., Any], key: Key | None, options: Options) -> tuple[Mark, ...]:
    """The mark in tokens that is asked for; ValueError for a model whose choice of tokens cannot be changed."""
    if key is None:
        return ()
    if "changes" not in inspect.signature(method).parameters:
        raise ValueError("this model does not draw token after token, so its texts carry no mark; leave --mark out")
    return (Green(key=key) if options.mark_tokens == "green" else Tournament(key=key),)


def _continue(run: Run, options: Options, own: dict[str, Any], marks: tuple[Mark, ...]) -> Path | None:
    """Texts that go on from a prompt, shown as they are drawn; the file they were written to, if any."""
    model, encoding = require(run.model, Prompted, "a prompt"), run.encoding
    if encoding is None:
        raise ValueError(f"a prompt is text, and this run is of {run.recipe.space.measure}; leave --prompt out")
    if not encoding.streams:
        raise ValueError(f"{encoding.words} have no beginning that a text could go on from; leave --prompt out")
    n, row = options.n or 1, torch.from_numpy(encoding.encode(options.prompt or ""))
    y, room = run.labels(options.y, n), run.recipe.space.only.shape[0]
    if len(row) >= room:
        warn(f"the prompt has {len(row):,} tokens and this model sees {room - 1} at most: only its end is heeded")
    changes = decoding(
        **{k: v for k, v in own.items() if k in ("temperature", "top_k", "top_p", "min_p", "repetition")}
    )
    changes = (*changes, *marks)
    began, written, texts = time.perf_counter(), 0, list[str]()
    tokens = 500 if options.tokens is None else options.tokens
    for number in range(n):
        pieces: list[int] = []
        shown = options.prompt or ""
        print(shown, end="", flush=True)

        def told(token: torch.Tensor, there: torch.Tensor, pieces: list[int] = pieces, start: str = shown) -> None:
            nonlocal written
            if not bool(there[0]):
                return
            before = len(encoding.decode(pieces).rstrip("\ufffd"))
            pieces.append(int(token[0]))
            written += 1
            # the bytes of a character may come one by one: it is shown when it is whole
            print(encoding.decode(pieces).rstrip("\ufffd")[before:], end="", flush=True)

        labels = None if y is None else y[number : number + 1]
        model.continue_from(Prompt(tokens=row[None]), tokens, y=labels, changes=changes, told=told,
                            rng=Rng(options.seed)("sample").rows(number))  # fmt: skip
        print(flush=True)
        texts.append(shown + encoding.decode(pieces))
    warn(_rate(written, began))
    if options.out is not None:
        warn(_write(run, texts, options.out))
    return options.out


def _infill(run: Run, options: Options, key: Key | None) -> Path | None:
    """Texts between a prompt and a suffix; where they were written."""
    from simulacra.cli.continuing import infilled

    if key is not None:
        raise ValueError("a middle is chosen by what follows it, so it carries no mark; leave --mark out")
    n, tokens = options.n or 1, 16 if options.tokens is None else options.tokens
    texts = infilled(run, options.prompt or "", options.suffix or "", n, tokens=tokens, draws=options.draws,
                     y=run.labels(options.y, 1), seed=options.seed)  # fmt: skip
    for text in texts:
        print(text, flush=True)
    if options.out is not None:
        warn(_write(run, texts, options.out))
    return options.out


def _rate(tokens: int, began: float) -> str:
    seconds = time.perf_counter() - began
    return f"{tokens:,} tokens, {tokens / max(seconds, 1e-9):,.0f} a second"


def with_own(
    options: T, function: Callable[..., Any] | None, known: Sequence[str], arguments: Sequence[str], verb: str
) -> tuple[T, dict[str, Any]]:
    """A verb's options, and by name a family's own ones: the keyword-only ones of a method beside the ``known``."""
    own = None if function is None else extra_options(function, known)
    fields = [("options", Annotated[type(options), tyro.conf.arg(name="")], dataclasses.field(default=options))]
    if own is not None:
        fields.append(("own", Annotated[own, tyro.conf.arg(name="")], dataclasses.field(default=own())))
    both: Any = parse(
        dataclasses.make_dataclass("Arguments", fields, kw_only=True), arguments, verb=verb, functions=SETTINGS
    )
    return both.options, {} if own is None else vars(both.own)


def extra_options(function: Callable[..., Any], known: Sequence[str]) -> type[Any] | None:
    """A family's own keyword-only options of a method, read from its signature; None where it has none."""
    kinds = typing.get_type_hints(function)
    fields = [
        (name, kinds.get(name, Any), dataclasses.field(default=parameter.default))
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in known and parameter.kind is parameter.KEYWORD_ONLY
    ]
    return dataclasses.make_dataclass("the family's own", fields, frozen=True, kw_only=True) if fields else None
