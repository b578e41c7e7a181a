"""Time that pruning takes to find what can be cut, and to cut it, on the real networks of the examples.

    python benchmarks/coupling.py [--rounds 5] [--only mobilenetv2]

Weights are random. Printed are the medians in seconds of one thread, by the clock and of processor time (the same on a
machine that does nothing else): finding the groups (two runs of the graph in ONNX Runtime included), and cutting half
of every group with what was found still at hand.
"""

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor, nn

from compress.intake import IntakeOptions, take_in
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.groups import Coupling, Cuts
from compress.prune.surgery import cut
from compress.quiet import quiet

Result = TypeVar("Result")

EXAMPLES = Path(__file__).parent.parent / "examples"


def load_example(name: str) -> ModuleType:
    """Return the module `network` of an example."""
    spec = importlib.util.spec_from_file_location(f"network_of_{name}", EXAMPLES / name / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def export(module: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> Model:
    """Return the graph of a module as the intake hands it on; the first axis is dynamic, and the second of tokens."""
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    axes = tuple({0: batch} if each.is_floating_point() else {0: batch, 1: length} for each in inputs)
    with tempfile.TemporaryDirectory() as folder, quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        path = Path(folder) / "model.onnx"
        program = torch.onnx.export(
            module.eval(), inputs, dynamo=True, optimize=False, verbose=False, external_data=False,
            dynamic_shapes=axes, input_names=names,
        )  # fmt: skip
        assert program is not None
        path.write_bytes(program.model_proto.SerializeToString())
        return take_in(path, IntakeOptions()).model


def export_mobilenetv2() -> Model:
    return export(load_example("mobilenetv2").mobilenet_v2(), (torch.zeros(2, 3, 224, 224),), ("image",))


def export_sentiment() -> Model:
    tokens = torch.ones((2, 9), dtype=torch.int64)
    return export(load_example("sentiment").sentiment_net(), (tokens, tokens), ("input_ids", "attention_mask"))


def take_fashion() -> Model:
    return take_in(EXAMPLES / "fashion" / "model.pt", IntakeOptions()).model


NETWORKS: dict[str, Callable[[], Model]] = {
    "fashion": take_fashion,
    "mobilenetv2": export_mobilenetv2,
    "sentiment": export_sentiment,
}


def half_of_everything(coupling: Coupling) -> Cuts:
    """Return a cut of every second unit of each group, as many of each block."""
    cuts: dict[str, tuple[int, ...]] = {}
    for group in coupling.groups:
        run = group.units // group.blocks
        cuts[group.name] = tuple(block * run + unit for block in range(group.blocks) for unit in range(1, run, 2))
    return cuts


@dataclass(frozen=True)
class Seconds:
    """How long something took, by the clock and of processor time."""

    clock: float
    processor: float


def measure(model: Model, rounds: int) -> tuple[Coupling, Seconds, Seconds]:
    """Return the coupling, and the median seconds of finding it and of cutting with it."""
    found, removed = [], []
    for _ in range(rounds + 1):
        fresh = Model(model.copy_graph(), model.inputs, model.outputs)
        coupling, seconds = timed(partial(analyse, fresh))
        found.append(seconds)
        removed.append(timed(partial(cut, fresh, coupling, half_of_everything(coupling)))[1])
    # The first round imports and warms up.
    return coupling, medians(found[1:]), medians(removed[1:])


def timed(work: Callable[[], Result]) -> tuple[Result, Seconds]:
    """Return what work gives, and how long it took."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, Seconds(time.perf_counter() - clock, time.process_time() - processor)


def medians(all_seconds: list[Seconds]) -> Seconds:
    """Return the medians of several times."""
    return Seconds(
        statistics.median(seconds.clock for seconds in all_seconds),
        statistics.median(seconds.processor for seconds in all_seconds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=NETWORKS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"{'network':<14}{'groups':>8}{'analyse: clock':>16}{'processor':>12}{'cut: clock':>14}{'processor':>12}")
    for name, make in NETWORKS.items():
        if arguments.only in (None, name):
            coupling, finding, cutting = measure(make(), arguments.rounds)
            print(
                f"{name:<14}{len(coupling.groups):>8}{finding.clock:>16.3f}{finding.processor:>12.3f}"
                f"{cutting.clock:>14.3f}{cutting.processor:>12.3f}"
            )


if __name__ == "__main__":
    main()
