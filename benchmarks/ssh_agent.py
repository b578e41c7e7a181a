"""What the agent on a board costs: seconds until it answers, until it is gone, for a call, for a megabyte.

    sudo apt-get install openssh-server
    python benchmarks/ssh_agent.py [--rounds 10]

A real sshd on 127.0.0.1, ended afterwards: a network adds its own time to each figure.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import sshd
from qdq_graphs import residual_net, samples

from compress.devices.ssh.agent import Agent
from compress.devices.ssh.session import open_on_board

MEGABYTES = 32


def measure(server: sshd.Server, folder: Path) -> dict[str, float]:
    """Return the seconds of one agent's life."""
    model, big = folder / "model.onnx", folder / "big.bin"
    model.write_bytes(residual_net(dtype="uint8", zero_point=0).to_bytes())
    big.write_bytes(os.urandom(MEGABYTES << 20))
    found = {}
    start = time.perf_counter()
    agent = Agent(server.board, lease=str(folder / "lease"))
    agent.call("facts")
    found["start, until it answers"] = time.perf_counter() - start
    start = time.perf_counter()
    agent.put(big, "big.bin")
    found["1 MB sent"] = (time.perf_counter() - start) / MEGABYTES
    agent.put(model, "model.onnx")
    session = open_on_board(agent, "model.onnx", "model", threads=1)
    feed = {"x": samples(1, 2, 8, 8)}
    session.run(feed)
    start = time.perf_counter()
    for _ in range(100):
        session.run(feed)
    found["a call of a small engine"] = (time.perf_counter() - start) / 100
    start = time.perf_counter()
    agent.close()
    found["end, until nothing is left"] = time.perf_counter() - start
    return found


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = sshd.make_server(folder / "server")
        server.start()
        try:
            rounds = [measure(server, folder) for _ in range(options.rounds)]
        finally:
            server.stop()
    print("| what | median | worst |\n|---|---|---|")
    for name in rounds[0]:
        seconds = [found[name] for found in rounds]
        print(f"| {name} | {statistics.median(seconds) * 1000:.1f} ms | {max(seconds) * 1000:.1f} ms |")


if __name__ == "__main__":
    main()
