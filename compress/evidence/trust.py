"""What a folder of results claims to be, and how far that claim is signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compress.errors import UsageError
from compress.evidence.files import Finding
from compress.evidence.statement import ENVELOPE, PROVENANCE, parse_statement, read_file, read_statement

Signed = Literal["no", "unchecked", "right", "wrong"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The digests that files must have.

    Attributes:
        digests: SHA-256 by path below the folder: of the statement that was signed, where the signature is right.
        signed: Whether there is a signature, and what it is worth.
        key: The SHA-256 of the key whose signature is right.
        findings: What is wrong with statement or signature.
    """

    digests: Mapping[str, str]
    signed: Signed
    key: str | None = None
    findings: tuple[Finding, ...] = ()


def read_claim(folder: Path, key: Path | None, *, required: bool) -> Claim:
    """Return what a folder claims, its signature checked where a key is given.

    Args:
        folder: Of results.
        key: A public key in PEM; None checks no signature.
        required: Whether a folder without a signature that is right will not do.

    Raises:
        ConfigError: There is no statement, or no such key.
        UsageError: A signature is required and there is no key to check it with.
    """
    if key is None:
        there = (folder / ENVELOPE).exists()
        if required:
            what = f"is signed ({ENVELOPE})" if there else "is not signed"
            raise UsageError(
                f"--require-signature needs a key to check it with, and {folder} {what}", hint="add --key KEY.pub.pem"
            )
        digests = read_statement(folder).digests
        return Claim(digests, "unchecked", None, _check_payload(folder)) if there else Claim(digests, "no")
    from compress.evidence.envelope import check_signature
    from compress.evidence.keys import read_public_key

    found = check_signature(folder, read_public_key(key), key)
    if isinstance(found, Finding):
        return Claim(read_statement(folder).digests, "no" if found.fault == "missing" else "wrong", None, (found,))
    statement = parse_statement(found.payload, f"{folder / ENVELOPE}: payload")
    return Claim(statement.digests, "right", found.key, _compare_statement(folder, found.payload))


def _check_payload(folder: Path) -> tuple[Finding, ...]:
    """Return what is wrong with a signature that needs no key to be seen: it is unreadable, or of another statement."""
    from compress.evidence.envelope import open_envelope

    found = open_envelope(folder)
    return (found,) if isinstance(found, Finding) else _compare_statement(folder, found.statement)


def _compare_statement(folder: Path, signed: bytes) -> tuple[Finding, ...]:
    """Return whether the statement beside the signature is another one than that which was signed."""
    path = folder / PROVENANCE
    if path.is_symlink() or not path.is_file():
        return (Finding("missing", PROVENANCE, f"{ENVELOPE} holds it, and it is not there"),)
    if path.stat().st_size != len(signed) or read_file(path) != signed:
        return (Finding("changed", PROVENANCE, f"it is not the statement that {ENVELOPE} holds, which was signed"),)
    return ()
