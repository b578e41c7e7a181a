"""Ed25519 keys in PEM files: made, read, named."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from compress.errors import ConfigError

PASSPHRASE: Final = "COMPRESS_KEY_PASSPHRASE"  # noqa: S105 - a variable's name
"""Environment variable with the passphrase of a private key; a new key is encrypted with it."""

_PRIVATE_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644
_MAX_BYTES: Final = 1 << 16
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_key(path: Path) -> Path:
    """Write a new private key, readable by its owner only, and its public key beside it; return the latter's path.

    Raises:
        ConfigError: One of the two files is there already, or cannot be written.
    """
    public = _public_path(path)
    for each in (path, public):
        if each.exists() or each.is_symlink():
            raise ConfigError(f"{each} is there already, and a key is never overwritten", hint="choose another name")
    key, passphrase = Ed25519PrivateKey.generate(), os.environ.get(PASSPHRASE)
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), _PRIVATE_MODE)
    _write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), _PUBLIC_MODE)
    return public


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a PEM file, decrypted with ``$COMPRESS_KEY_PASSPHRASE`` where it is encrypted.

    Raises:
        ConfigError: It cannot be read, is encrypted and the passphrase is missing or wrong, is of another kind, or does
            not belong to the public key beside it.
    """
    content, passphrase = _read(path), os.environ.get(PASSPHRASE)
    if b"PUBLIC KEY" in content:
        raise ConfigError(f"{path} is a public key", hint="sign with the private one, which `--new-key` wrote")

    def load() -> object:
        if b"ENCRYPTED" in content:
            if not passphrase:
                raise ConfigError(f"{path} is encrypted", hint=f"put its passphrase into {PASSPHRASE}")
            return load_pem_private_key(content, passphrase.encode())
        return load_pem_private_key(content, None)

    hint = f"is the passphrase in {PASSPHRASE} right? " if b"ENCRYPTED" in content else ""
    key = _parse(load, path, f"{hint}`compress sign --new-key PATH` makes a key")
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key", hint="`compress sign --new-key PATH` makes one")
    public = _public_path(path)
    beside = public.is_file() and b"PUBLIC KEY" in _read(public)
    if beside and name_key(read_public_key(public)) != name_key(key.public_key()):
        raise ConfigError(
            f"{path} is not the private key of {public}, which lies beside it",
            hint="take both again from where they were made: nobody with that public key could check the signature",
        )
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Return the public key in a PEM file.

    Raises:
        ConfigError: It cannot be read, or is of another kind; a private key has no place where signatures are checked.
    """
    content = _read(path)
    if b"PRIVATE KEY" in content:
        raise ConfigError(f"{path} is a private key", hint="give the public one, which lies beside it as *.pub.pem")
    key = _parse(lambda: load_pem_public_key(content), path, "give the *.pub.pem of `compress sign --new-key`")
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is no Ed25519 key", hint="give the *.pub.pem of `compress sign --new-key`")
    return key


def name_key(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of a public key (its SubjectPublicKeyInfo in DER), hexadecimal."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _public_path(private: Path) -> Path:
    return private.with_suffix(f".pub{private.suffix}")


def readable_by_others(path: Path) -> bool:
    """Return whether a file is there that others than its owner may read or write."""
    return path.exists() and os.name == "posix" and bool(path.stat().st_mode & _OTHERS)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check the path of the key") from error


def _parse(load: Callable[[], object], path: Path, hint: str) -> object:
    try:
        return load()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = str(error).partition(".")[0]
        raise ConfigError(f"{path} cannot be read as a key in PEM: {reason}", hint=hint) from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="choose another folder") from error
