"""Reading the TOML files that people write: one way to read them, one way to say what is wrong in them."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from compress.errors import ConfigError, suggest


def read_toml(path: Path) -> dict[str, object]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: No such file, not text, or not TOML; the message has the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="it must be a UTF-8 text file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="mend the line that the message names") from None


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
