"""Whether what goes into a run that is repeated is what went into the one that its lock is of."""

from pathlib import Path
from typing import Final

from compress.data.recipes import resolve_settings
from compress.data.samples import SampleSet, describe_samples
from compress.data.settings import SampleSettings
from compress.data.slices import digest_slices
from compress.errors import ConfigError, DataError, ModelError, UsageError
from compress.evidence.lock.schema import Lock, LockedData, LockedTarget
from compress.options import RunOptions
from compress.store import hash_file
from compress.targets import find_target

ANEW: Final = "to compress it as it is now, leave --locked away"
"""What to do where something has changed on purpose."""

_SHOWN: Final = 12
"""Characters of a digest that tell two files apart."""
_WORDS = {"name", "description", "license", "attribution"}
"""What a recipe of samples says that changes no sample."""


def check_file(path: Path, wanted: object, place: str, *, gone: str = "put it back where it was") -> None:
    """Refuse a file that is not the one of a lock.

    Args:
        path: Of the file.
        wanted: Its SHA-256 in the lock.
        place: The lock's path, for messages.
        gone: What to do where there is no such file.

    Raises:
        ConfigError: It is not there, cannot be read, or is another one.
    """
    if not path.is_file():
        raise ConfigError(f"{path}, which {place} names, does not exist", hint=gone)
    found = hash_input(path)
    if found != wanted:
        raise ConfigError(
            f"{path} has the SHA-256 {found[:_SHOWN]}…, {place} says {str(wanted)[:_SHOWN]}…",
            hint=f"put it back as it was; {ANEW}",
        )


def hash_input(path: Path) -> str:
    """Return the SHA-256 of a file that goes into a run.

    Raises:
        ConfigError: It is not there, or cannot be read.
    """
    try:
        return hash_file(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint="check the path") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error


def check_model(model: Path, lock: Lock, options: RunOptions, place: str) -> None:
    """Refuse another model file than the lock's, and one whose code ran and may not now.

    Raises:
        ModelError: It is not there, or is another one.
        ConfigError: It cannot be read.
        UsageError: Its code must be allowed to run.
    """
    if not model.exists():
        raise ModelError(f"{model} does not exist", hint="say where it is now: compress run MODEL --locked LOCK")
    if model.is_file() and (found := hash_input(model)) != lock.model.sha256:
        raise ModelError(
            f"{model} has the SHA-256 {found}, {place} says {lock.model.sha256}",
            hint=f"give the model of the lock: compress run MODEL --locked LOCK; {ANEW}",
        )
    if lock.model.trust_pickle and not options.trust_pickle:
        raise UsageError(
            f"{place} was made with --trust-pickle: code in {model.name} ran", hint="say --trust-pickle if it may again"
        )


def locate_target(target: LockedTarget, base: Path) -> str:
    """Return the name of a target, or the path of its file from the folder of the lock."""
    return str(base / target.spec) if target.spec.endswith(".toml") else target.spec


def check_target(target: LockedTarget, base: Path, place: str) -> None:
    """Refuse a target that is not known any more, or whose file is gone or another one.

    Raises:
        UsageError: No such target.
        ConfigError: The file is gone, or another one.
    """
    try:
        path = find_target(locate_target(target, base))
    except UsageError as error:
        raise UsageError(
            f"{place}: {error.message}",
            hint=f"install edge-compress as it was, with this target; or leave --locked away. {error.hint}",
        ) from None
    check_file(path, target.sha256, place)


def check_settings(role: str, locked: LockedData, folder: Path, flag: str, place: str) -> None:
    """Refuse a recipe of samples that says something else than it did.

    Raises:
        DataError: It is gone, or has another value; the message names the key.
    """
    if locked.spec is None or locked.settings is None:
        return
    try:
        now = resolve_settings(locked.spec, base=folder)
    except DataError as error:
        raise DataError(
            f"{place}: data.{role}: {error.message}", hint=f"say where the samples are now: {flag} SPEC"
        ) from error
    then, here = (settings.model_dump(mode="json", exclude_none=True) for settings in (locked.settings, now))
    for key in sorted(SampleSettings.model_fields.keys() - _WORDS):
        was, found = then.get(key), here.get(key)
        if was != found:
            raise DataError(
                f"data.{role}: `{locked.spec}` says {key} = {found!r}, {place} says {was!r}",
                hint=f"put it back as it was, or say where such samples are now: {flag} SPEC",
            )


def check_samples(role: str, samples: SampleSet, locked: LockedData, place: str) -> None:
    """Refuse other samples than the lock's, and other slices of them.

    Raises:
        DataError: They differ.
    """
    if (found := samples.digest()) != locked.digest:
        flag = "--data" if role == "calibration" else "--eval"
        raise DataError(
            f"the {role} samples `{samples.name}` ({len(samples)}) have the digest {found}, {place} says "
            f"{locked.digest} (`{locked.name}`, {locked.samples})",
            hint=f"put them back as they were, or say where such samples are now: {flag} SPEC",
        )
    slices = digest_slices(describe_samples(samples).slices) or "none"
    if locked.slices_digest not in (None, slices):
        table = locked.settings and (locked.settings.slices or locked.settings.files)
        raise DataError(
            f"the slices of the {role} samples `{samples.name}`{f' ({table})' if table else ''} have the digest "
            f"{slices[:_SHOWN]}…, {place} says {str(locked.slices_digest)[:_SHOWN]}…",
            hint=f"put them back as they were; {ANEW}",
        )
