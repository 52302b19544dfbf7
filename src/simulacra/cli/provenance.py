"""``sign`` and ``inspect``: signed manifests (C2PA) in files, and what those of a file come to."""

from __future__ import annotations

import dataclasses
import json as json_
from collections.abc import Sequence
from pathlib import Path

from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import say, warn
from simulacra.core.checkpoint import digest
from simulacra.responsibility import provenance
from simulacra.responsibility.chains import Chain, make_test_chain, read_chain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signing:
    """What to sign, and with what.

    Attributes:
        cert: the signer's certificates, FILE.pem, its own first.
        key: its private key, in PEM without a password; FILE.key beside the certificates unless given.
        run: the run that made the file: its name and the hash of its recipe go into the manifest.
        out: the signed file; in place unless given.
        make_test_chain: make certificates in this folder to try things with, and sign nothing.
    """

    cert: Path | None = None
    key: Path | None = None
    run: Path | None = None
    out: Path | None = None
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
    if options.cert is None:
        raise ValueError("sign needs --cert FILE.pem; `simulacra sign --make-test-chain DIR` makes one to try")
    chain = chain_of(options.cert, options.key)
    path = Path(found[0])
    if not path.is_file():
        raise ValueError(f"no file {path}; give one to sign")
    if options.out is not None and options.out.suffix.lower() != path.suffix.lower():
        raise ValueError(f"{options.out}: signing changes no format; expected a name that ends in {path.suffix}")
    origin = None if options.run is None else origin_of(options.run)
    say(f"{provenance.sign_file(path, chain, out=options.out, origin=origin)}: signed")


def main_inspect(arguments: Sequence[str]) -> None:
    """What the manifest of a file comes to: Trusted, Valid, Invalid or Absent, and why."""
    found, rest = positionals(arguments, ("FILE",), "inspect")
    options = parse(Inspecting, rest, verb="inspect FILE")
    path = Path(found[0])
    roots = b"" if options.trust is None else options.trust.read_bytes()
    seen = provenance.inspect(path.read_bytes(), path.suffix.lower(), roots=roots)
    if options.json:
        print(json_.dumps({"name": str(path), **dataclasses.asdict(seen)}, indent=1))
        return
    say(f"{path}: {seen.state}" + (f", signed by {seen.signer}" if seen.signer else ""))
    for reason in seen.reasons:
        say(f"  {reason}")
    if seen.source is not None:
        say(f"  says it is {seen.source.rpartition('/')[2]}")
    if seen.origin is not None:
        say(f"  of run {seen.origin.run}, recipe {seen.origin.recipe}")


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


def sign_written(out: Path, chain: Chain, origin: provenance.Origin) -> int:
    """Sign the file, or every file of the folder, that was written; how many."""
    files = sorted(p for p in out.rglob("*") if p.is_file()) if out.is_dir() else [out]
    for file in files:
        provenance.sign_file(file, chain, origin=origin)
    return len(files)
