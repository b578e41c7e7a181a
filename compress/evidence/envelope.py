"""``statement.dsse.json``: the statement of a folder and signatures of it, as other tools read them.

Source: DSSE, Dead Simple Signing Envelope, version 1 (protocol and envelope).
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.errors import ConfigError
from compress.evidence.files import Finding
from compress.evidence.keys import name_key
from compress.evidence.statement import ENVELOPE, PROVENANCE, read_file
from compress.store import write_atomically

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_MAX_BYTES: Final = 32 << 20


def encode(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding.

    >>> encode("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


class _Read(BaseModel):
    # Readers of an envelope ignore fields that they do not know.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Signature(_Read):
    """A signature, base64; ``keyid`` is a hint which key it is by, and nothing is decided by it."""

    sig: str
    keyid: str = ""


class Envelope(_Read):
    """The whole file; ``payload`` is base64."""

    payload: str
    payload_type: Annotated[Literal["application/vnd.in-toto+json"], Field(alias="payloadType")]
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1)]

    @property
    def statement(self) -> bytes:
        """The statement that was signed."""
        return _decode(self.payload)


@dataclass(frozen=True, slots=True)
class Checked:
    """A signature that is right: the statement that it is of, and the key's name."""

    payload: bytes
    key: str


def sign(folder: Path, key: Ed25519PrivateKey) -> str:
    """Sign the statement of a folder, beside signatures of other keys; return the key's name.

    Raises:
        ConfigError: Another statement was signed there, or the folder cannot be written to.
    """
    payload = read_file(folder / PROVENANCE)
    name = name_key(key.public_key())
    others: Sequence[Signature] = ()
    if (folder / ENVELOPE).exists():
        there = read_envelope(folder)
        if there.statement != payload:
            raise ConfigError(
                f"{folder / ENVELOPE} is a signature of another statement than {PROVENANCE}",
                hint=f"if you trust {PROVENANCE}, remove the signature and sign again",
            )
        others = [each for each in there.signatures if each.keyid != name]
    signature = key.sign(encode(PAYLOAD_TYPE, payload))
    made = Signature(keyid=name, sig=base64.b64encode(signature).decode())
    content = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": each.keyid, "sig": each.sig} for each in (*others, made)],
    }
    try:
        write_atomically(folder / ENVELOPE, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {folder / ENVELOPE}: {error.strerror}", hint="check the permissions of the folder"
        ) from error
    return name


def read_envelope(folder: Path) -> Envelope:
    """Return the envelope in a folder.

    Raises:
        ConfigError: It is not there, no plain file, too large, or no such envelope.
    """
    path = folder / ENVELOPE
    hint = "take the folder again from where it was signed"
    if path.is_symlink() or not path.is_file():
        raise ConfigError(f"{path} is missing, or is no plain file", hint=hint)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} has more than {_MAX_BYTES} bytes", hint=hint)
        envelope = Envelope.model_validate_json(path.read_bytes())
        _ = envelope.statement
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check the permissions") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path} is no DSSE envelope: {place or 'content'}: {first['msg']}", hint=hint) from error
    except ValueError as error:
        raise ConfigError(f"{path} is no DSSE envelope: payload: {error}", hint=hint) from error
    return envelope


def open_envelope(folder: Path) -> Envelope | Finding:
    """Return the envelope in a folder, or what is wrong with it."""
    try:
        return read_envelope(folder)
    except ConfigError as error:
        return Finding("changed", ENVELOPE, error.message)


def check_signature(folder: Path, key: Ed25519PublicKey, place: Path) -> Checked | Finding:
    """Return the statement that was signed with a key, or what is wrong.

    Args:
        folder: Of results.
        key: Whose signature is looked for.
        place: The key's path, for messages.
    """
    if not (folder / ENVELOPE).exists():
        return Finding("missing", ENVELOPE, "the folder is not signed")
    envelope = open_envelope(folder)
    if isinstance(envelope, Finding):
        return envelope
    name, payload = name_key(key), envelope.statement
    if any(_fits(each, payload, key) for each in envelope.signatures):
        return Checked(payload, name)
    makers = [each.keyid for each in envelope.signatures]
    if name not in makers:
        told = ", ".join(f"{maker[:16]}…" for maker in makers)
        return Finding("unsigned", ENVELOPE, f"signed with key {told}, not with {place} ({name[:16]}…)")
    return Finding("changed", ENVELOPE, f"the signature of {place} does not fit the statement in it")


def _fits(signature: Signature, payload: bytes, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(_decode(signature.sig), encode(PAYLOAD_TYPE, payload))
    except (InvalidSignature, ValueError):
        return False
    return True


def _decode(text: str) -> bytes:
    """Return the bytes of base64 in its one canonical form.

    Raises:
        ValueError: It is not.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"no base64: {error}") from None
    if base64.b64encode(data).decode() != text:
        raise ValueError("no canonical base64")
    return data
