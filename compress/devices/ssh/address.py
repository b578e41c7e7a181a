"""Where a board is, and how it is reached."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from compress.errors import UsageError, printable

SCHEME: Final = "ssh://"
_EXAMPLE: Final = "write ssh://user@host or ssh://user@host:2222; `compress devices add` keeps the rest"
# What a shell or ssh itself could take for something else is no name of a host or a user.
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[?[0-9a-fA-F:]+\]?")


@dataclass(frozen=True, slots=True)
class Board:
    """A board over SSH.

    Attributes:
        host: Name, address, or a name in the user's ``~/.ssh/config``.
        user: Who logs in; None leaves it to ssh.
        port: None leaves it to ssh.
        python: The interpreter on the board that has the runtime: a path, or a name on PATH.
        folder: Where the agent lives while it runs; None for the user's cache folder on the board.
        ssh: Words for the ssh command: ``("-i", "key")``, ``("-F", "config")``.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"
    folder: str | None = None
    ssh: tuple[str, ...] = field(default=())

    @property
    def device(self) -> str:
        """How ``--device`` and the report name it: ``ssh://user@host:2222``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return SCHEME + (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")

    @property
    def login(self) -> str:
        """What ssh is told to connect to: ``user@host``."""
        return f"{self.user}@{self.host}" if self.user else self.host


def parse_address(text: str) -> Board:
    """Return the board that ``ssh://[user@]host[:port]`` names.

    Raises:
        UsageError: It is no such address, or has a password or a path in it.
    """
    if not text.startswith(SCHEME) or not text.isprintable():
        raise UsageError(f"`{printable(text)}` is no address of a board", hint=_EXAMPLE)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"`{text}`: {error}", hint=_EXAMPLE) from None
    if parts.password is not None:
        raise UsageError(f"`{SCHEME}{parts.username}:…@{parts.hostname}` has a password in it", hint="ssh uses keys")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"`{text}` has more than user, host and port", hint=_EXAMPLE)
    for word in (parts.hostname, parts.username):
        if word is not None and not _SAFE.fullmatch(word):
            raise UsageError(f"`{text}`: `{word}` is no name of a host or user", hint=_EXAMPLE)
    if not parts.hostname:
        raise UsageError(f"`{text}` names no host", hint=_EXAMPLE)
    # urlsplit writes hosts in small letters; names in ~/.ssh/config may have capitals.
    host = re.sub(r"^.*@|:\d*$", "", parts.netloc)
    return Board(host.strip("[]"), parts.username, port)
