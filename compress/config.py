"""Reading the TOML and JSON files that come from outside: one way to read them, one to say what is wrong in them."""

import json
import tomllib
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from compress.errors import ConfigError, suggest

_MOST_DIGITS: Final = 100
"""Of a number in JSON: sums and ratios of larger ones need not be finite."""


def read_toml(path: Path) -> dict[str, object]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: No such file, not text, or not TOML; the message has the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint="check the path") from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="check the path and its permissions"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="it must be a UTF-8 text file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="mend the line that the message names") from None


def read_json(path: Path, *, hint: str) -> object:
    """Return what a JSON file holds.

    Args:
        path: The file.
        hint: What to do about one that is damaged.

    Raises:
        ConfigError: No such file, not text, or not JSON; the message has the place.
    """
    try:
        return json.loads(
            path.read_text(encoding="utf-8"), parse_int=_parse_integer, parse_float=_parse_float, parse_constant=_refuse
        )
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint="check the path") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text (byte {error.start})", hint=hint) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{path} is not JSON ({place}): {error.msg}", hint=hint) from None
    except (ValueError, RecursionError) as error:
        # Nested too deep for the parser, or a number that cannot be computed with.
        raise ConfigError(f"{path} is not JSON that can be read: {error}", hint=hint) from None


def _parse_integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _parse_float(text: str) -> float:
    found = float(text)
    return found if abs(found) < 10.0**_MOST_DIGITS else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"the number {text}")


def explain(error: ValidationError, place: str, schema: type[BaseModel]) -> ConfigError:
    """Return the first thing that is wrong with a table as an error that names the key.

    Args:
        error: What pydantic found.
        place: Where the table stands: ``"compress.toml: [gate]"``.
        schema: The class that the table was read as; its field names are suggested for an unknown key.
    """
    first = error.errors()[0]
    # Pydantic puts the names of a union's classes among the keys.
    key = ".".join(str(part) for part in first["loc"] if not str(part)[:1].isupper())
    if first["type"] == "extra_forbidden":
        known = _fields(schema, first["loc"])
        return ConfigError(f"{place}: unknown key `{key}`", hint=suggest(str(first["loc"][-1]), known))
    shown = "" if first["type"] == "missing" else f" (got {first['input']!r})"
    field = _table_at(schema, first["loc"]).model_fields.get(str(first["loc"][-1])) if first["loc"] else None
    wanted = f": {field.description}" if field is not None and field.description else ""
    return ConfigError(f"{place}: `{key}`: {first['msg']}{shown}", hint=f"correct that value{wanted}")


def _fields(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the table at a location may have."""
    return [field.alias or name for name, field in _table_at(schema, location).model_fields.items()]


def _table_at(schema: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the class of the table that a location is in; the innermost one that is known."""
    for part in location[:-1]:
        field = schema.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return schema
        schema = inner
    return schema
