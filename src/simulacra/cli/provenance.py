"""``sign`` and ``inspect``: signed manifests (C2PA) in files, and what those of a file come to."""

from __future__ import annotations

import dataclasses
import glob
import json as json_
from collections.abc import Sequence
from pathlib import Path

from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import say, warn
from simulacra.core.checkpoint import digest
from simulacra.responsibility import metadata, provenance
from simulacra.responsibility.chains import Chain, make_test_chain, read_chain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signing:
    """What to sign, and with what.

    Attributes:
        cert: the signer's certificates, FILE.pem, its own first.
        key: its private key, in PEM without a password; FILE.key beside the certificates unless given.
        run: the run that made the file: its name and the hash of its recipe go into the manifest.
        out: the signed file; in place unless given.
        metadata: instead of signing, write into the file, or beside it, that a model made it; without certificates.
        make_test_chain: make certificates in this folder to try things with, and sign nothing.
    """

    cert: Path | None = None
    key: Path | None = None
    run: Path | None = None
    out: Path | None = None
    metadata: bool = False
    make_test_chain: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspecting:
    """Whom to trust.

    Attributes:
        trust: certificates, FILE.pem, that are trusted to vouch for signers; nobody is unless given.
        json: print what was found as JSON.
    """

    trust: Path | None = None
    json: JsonFlag = False


def main_sign(arguments: Sequence[str]) -> None:
    """A signed manifest in a file, or a chain of certificates to try that with."""
    making = any(a.split("=")[0] == "--make-test-chain" for a in arguments)
    found, rest = ([], list(arguments)) if making else positionals(arguments, ("FILE",), "sign")
    options = parse(Signing, rest, verb="sign FILE | sign --make-test-chain DIR")
    if options.make_test_chain is not None:
        signer, root = make_test_chain(options.make_test_chain)
        say(f"{signer}: certificates to try signing with, the key beside them; `inspect FILE --trust {root}` trusts"
            " them, and nobody else does")  # fmt: skip
        return
    path = Path(found[0])
    if options.metadata:
        _label(path, options)
        return
    if options.cert is None:
        remedy = "`simulacra sign --make-test-chain DIR` makes one to try"
        raise ValueError(f"sign needs --cert FILE.pem, or --metadata; {remedy}")
    chain = chain_of(options.cert, options.key)
    if not path.is_file():
        raise ValueError(f"no file {path}; give one to sign")
    if options.out is not None and options.out.suffix.lower() != path.suffix.lower():
        raise ValueError(f"{options.out}: signing changes no format; expected a name that ends in {path.suffix}")
    origin = None if options.run is None else origin_of(options.run)
    say(f"{provenance.sign_file(path, chain, out=options.out, origin=origin)}: signed")


def _label(path: Path, options: Signing) -> None:
    """Unsigned metadata in a file, or beside it."""
    if options.cert is not None or options.out is not None:
        raise ValueError("--metadata is unsigned and is written into the file or beside it; leave --cert and --out out")
    if not path.is_file():
        raise ValueError(f"no file {path}; give one to write into")
    if path.suffix.lower() in provenance.TYPES and provenance.holds_manifest(path.read_bytes()):
        raise ValueError(f"{path} holds a signed manifest, which a change would break; write metadata before signing")
    told = metadata.told_by_us(None if options.run is None else origin_of(options.run))
    say(f"{metadata.write(path, told)}: says that a model made it; {metadata.UNSIGNED}")


def main_inspect(arguments: Sequence[str]) -> None:
    """What the manifest of a file comes to, Trusted, Valid, Invalid or Absent, and what it says unsigned."""
    found, rest = positionals(arguments, ("FILE",), "inspect")
    options = parse(Inspecting, rest, verb="inspect FILE")
    path = Path(found[0])
    roots = b"" if options.trust is None else options.trust.read_bytes()
    if not path.is_file():
        raise ValueError(f"no file {path}; give one to inspect")
    told = metadata.read(path)
    if path.suffix.lower() in provenance.TYPES:
        seen = provenance.inspect(path.read_bytes(), path.suffix.lower(), roots=roots)
    else:
        nowhere = f"no manifest goes into a file with ending {path.suffix or '(none)'}"
        seen = provenance.Inspected(state="Absent", reasons=(nowhere,))
    if options.json:
        unsigned = None if told is None else dataclasses.asdict(told)
        print(json_.dumps({"name": str(path), **dataclasses.asdict(seen), "unsigned": unsigned}, indent=1))
        return
    say(f"{path}: {seen.state}" + (f", signed by {seen.signer}" if seen.signer else ""))
    for reason in seen.reasons:
        say(f"  {reason}")
    if seen.source is not None:
        say(f"  says it is {seen.source.rpartition('/')[2]}")
    if seen.origin is not None:
        say(f"  of run {seen.origin.run}, recipe {seen.origin.recipe}")
    if told is not None:
        _tell(told)


def _tell(told: metadata.Told) -> None:
    """What a file says of itself without a signature."""
    of = "" if told.origin is None else f" of run {told.origin.run}, recipe {told.origin.recipe}"
    say(f"  metadata says it is {told.source.rpartition('/')[2]}, by {told.software}{of}")
    if told.matches is False:
        say("  that was said of other content: this file was changed since, or is another")
    say(f"  {metadata.UNSIGNED}")


def chain_of(certificate: Path, key: Path | None = None) -> Chain:
    """The chain to sign with; warnings about it are told."""
    chain = read_chain(certificate, key)
    for words in chain.warnings:
        warn(words)
    return chain


def origin_of(run: Path) -> provenance.Origin:
    """What a manifest says of a run; ValueError for a folder that is none."""
    recipe = run / "recipe.json"
    if not recipe.is_file():
        raise ValueError(f"{run} is no run: it has no recipe.json")
    return provenance.Origin(run=run.resolve().name, recipe=digest(recipe))


Standing = dict[Path, int]


def standing(out: Path) -> Standing:
    """The files under a name, itself, all in a folder, and those numbered NAME-1.mid and so on, and when they were
    written, nanoseconds."""
    inside = out.rglob("*") if out.is_dir() else [out, *out.parent.glob(f"{glob.escape(out.stem)}-*{out.suffix}")]
    return {p: p.stat().st_mtime_ns for p in inside if p.is_file() and not p.name.endswith(metadata.BESIDE)}


def written(out: Path, before: Standing) -> list[Path]:
    """The files under a name that were written since: what stood there already is not ours to say anything in."""
    return sorted(p for p, when in standing(out).items() if before.get(p) != when)


def say_origin(files: Sequence[Path], chain: Chain | None, origin: provenance.Origin) -> str:
    """Say in files that a run made them: signed where a chain is given and a manifest goes in; what was done, told."""
    signed = [f for f in files if chain is not None and f.suffix.lower() in provenance.WRITABLE]
    for file in signed:
        assert chain is not None
        provenance.sign_file(file, chain, origin=origin)
    said = [metadata.write(file, metadata.told_by_us(origin)) for file in files if file not in signed]
    parts = [f"signed {len(signed):,} files"] if signed else []
    if said:
        where = f"in {said[0]}" if len(said) == 1 else f"in {len(said):,} files such as {said[0].name}"
        kinds = sorted({f.suffix or f.name for f in files if f not in signed})
        why = f": no manifest goes into {', '.join(kinds)}" if chain is not None else ""
        parts.append(f"wrote {where} that this run made it, unsigned{why}")
    return "; ".join(parts)
