"""Certificates to sign manifests with: reading a chain and its private key, and making a chain to try things with.

A certificate file is PEM: the signer's certificate first, those that vouch for it after. Its private key is the file of
the same name with the ending .key beside it, or any other. Keys are read to sign and are written nowhere else.
Which certificates C2PA takes is in its Technical Specification 2.1, trust model, X.509 certificates.
"""

from __future__ import annotations

import datetime
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DAYS = 365
INSTALL = "signing needs c2pa-python: pip install 'simulacra[provenance]'"


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A signer: its certificates in PEM, the algorithm that its key signs with, and the private key in PEM.

    warnings  what its owner should know, in sentences: a key file that others may read.
    """

    certificates: bytes
    algorithm: str
    private_key: bytes = field(repr=False)
    warnings: tuple[str, ...] = ()


def read_chain(certificate: Path, key: Path | None = None) -> Chain:
    """The chain in a PEM file, and the private key in ``key`` or else in the file of the same name with ending .key.

    Raises ValueError, which shows nothing of the key, for files that are no certificates or no key, a key that is not
    the certificate's, and a certificate that is not valid today.
    """
    x509, serialization = _cryptography()
    key = certificate.with_suffix(".key") if key is None else key
    pem, secret = _read(certificate), _read(key)
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, IndexError):
        raise ValueError(f"{certificate} holds no certificate in PEM; give the signer's chain") from None
    try:
        private: Any = serialization.load_pem_private_key(secret, password=None)
    except (ValueError, TypeError):
        raise ValueError(f"{key} holds no private key in PEM without a password; export the key as such") from None
    if private.public_key() != first.public_key():
        raise ValueError(f"{key} is not the key of the certificate in {certificate}; give the one that belongs to it")
    now = datetime.datetime.now(datetime.UTC)
    if not first.not_valid_before_utc <= now <= first.not_valid_after_utc:
        raise ValueError(
            f"{certificate} is valid from {first.not_valid_before_utc:%Y-%m-%d} to"
            f" {first.not_valid_after_utc:%Y-%m-%d}, not today: renew it"
        )
    warnings = ()
    if os.name == "posix" and stat.S_IMODE(key.stat().st_mode) & 0o077:
        warnings = (f"{key} may be read by others: chmod 600 {key}",)
    return Chain(certificates=pem, algorithm=_algorithm(private, key), private_key=secret, warnings=warnings)


def make_test_chain(folder: Path, *, days: int = DAYS) -> tuple[Path, Path]:
    """A root and a signer's certificate that it vouches for, new in a folder; the paths of signer and root.

    days  that both are valid, from yesterday; nought or less makes an expired one.

    The root's own key is thrown away: nobody can make another certificate of it. ValueError where files exist.
    """
    x509, serialization = _cryptography()
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import oid

    signer, root = folder / "signer.pem", folder / "root.pem"
    there = [str(p) for p in (signer, root, folder / "signer.key") if p.exists()]
    if there:
        raise ValueError(f"{there[0]} exists, and no key or certificate is overwritten; give another folder")
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2 if days > 0 else 2 - days)

    def certificate(name: str, public: Any, *, authority: bool) -> Any:
        of = oid.NameOID
        called = [[x509.NameAttribute(of.ORGANIZATION_NAME, "simulacra test chain"),
                   x509.NameAttribute(of.COMMON_NAME, n)] for n in (name, "test root")]  # fmt: skip
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(called[0]))
            .issuer_name(x509.Name(called[1]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(began)
            .not_valid_after(began + datetime.timedelta(days=max(days, 0) + 1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(_usage(x509, authority), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if not authority:
            # one of the purposes that the specification accepts without a list of its own
            purposes = x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            made = made.add_extension(purposes, critical=False)
        return made.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    folder.mkdir(parents=True, exist_ok=True)
    top = certificate("test root", root_key.public_key(), authority=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    handle = os.open(folder / "signer.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secret)
    signer.write_bytes(certificate("test signer", key.public_key(), authority=False) + top)
    root.write_bytes(top)
    return signer, root


def _usage(x509: Any, authority: bool) -> Any:
    return x509.KeyUsage(
        digital_signature=not authority, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=authority, crl_sign=authority, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _algorithm(private: Any, key: Path) -> str:
    """What C2PA calls the signature that a key makes; ValueError for a kind it does not take."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in curves:
        return curves[private.curve.name]
    raise ValueError(f"{key}: a kind of key that C2PA does not take; expected P-256, P-384, P-521, Ed25519 or RSA"
                     " of 2048 bits or more")  # fmt: skip


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"no file {path} ({error.strerror}); `simulacra sign --make-test-chain DIR` makes a chain to try"
        ) from None


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return x509, serialization
