"""A real ``sshd`` on 127.0.0.1 for tests: its own config, port, host key and user key, ended by its process id."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from compress.devices.ssh.address import Board


@dataclass
class Server:
    """A running server.

    Attributes:
        folder: Its keys and configuration.
        port: Where it listens.
        base: Where agents live on the "board".
    """

    folder: Path
    port: int
    base: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def board(self) -> Board:
        """How the board is reached."""
        ssh = ("-F", str(self.folder / "ssh_config"))
        return Board("127.0.0.1", getpass.getuser(), self.port, sys.executable, str(self.base), ssh)

    def board_with(self, *, python: str | None = None, folder: str | None = None) -> Board:
        """Return the board with another interpreter or folder."""
        board = self.board
        return replace(board, python=python or board.python, folder=folder or board.folder)

    def start(self, environment: dict[str, str] | None = None, *, file_bytes: int | None = None) -> None:
        """Start the server; what it runs gets the environment too, and no file grows beyond ``file_bytes``."""
        config = self.folder / "sshd_config"
        lines = [
            *(f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.folder / 'host_key'}"),
            *(f"AuthorizedKeysFile {self.folder / 'user_key.pub'}", "StrictModes no", "UsePAM no"),
            *("PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes"),
            *(f"PidFile {self.folder / 'sshd.pid'}", "LogLevel ERROR"),
            *(["SetEnv " + " ".join(f"{name}={value}" for name, value in environment.items())] if environment else []),
        ]
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
        assert program is not None, "apt-get install openssh-server"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        words = [program, "-D", "-e", "-f", str(config)]
        if file_bytes is not None:
            words = ["prlimit", f"--fsize={file_bytes}", *words]
        self.process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("sshd does not listen")

    def name(self, path: Path, name: str) -> None:
        """Write a file of named devices that has this board."""
        board = self.board
        path.write_text(
            f'[devices.{name}]\naddress = "{board.device}"\npython = "{board.python}"\nfolder = "{board.folder}"\n'
            f'ssh = "{" ".join(board.ssh)}"\n',
            encoding="utf-8",
        )

    def cut(self) -> int:
        """Kill every open connection's process, as a pulled cable would; return how many there were."""
        assert self.process is not None
        cut = 0
        for child in psutil.Process(self.process.pid).children():
            try:
                child.kill()
                cut += 1
            except psutil.NoSuchProcess:
                continue
        return cut

    def stop(self) -> None:
        """End the server and its connections."""
        if self.process is None:
            return
        self.cut()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        self.process = None


def make_server(folder: Path) -> Server:
    """Return a server that is not started yet, with fresh keys that know each other."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "user_key"):
        make_key(folder / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    public = (folder / "host_key.pub").read_text(encoding="utf-8")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}", encoding="utf-8")
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder / 'user_key'}\nIdentitiesOnly yes\nIdentityAgent none\n"
        f"UserKnownHostsFile {folder / 'known_hosts'}\nGlobalKnownHostsFile /dev/null\n",
        encoding="utf-8",
    )
    return Server(folder, port, folder / "board")


def make_key(path: Path) -> None:
    """Write a fresh key pair."""
    path.unlink(missing_ok=True)
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
