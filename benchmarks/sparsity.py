"""Zeros in weights: what magnitude alone costs, what least squares and a choice by error give back, and training.

    python examples/fetch.py fashion-mnist
    python benchmarks/sparsity.py fashion [--patterns 2:4 1:4 unstructured/0.8 16x1/0.5]
    python benchmarks/sparsity.py sentiment --patterns 2:4 --steps 150 --batch 16
    python benchmarks/sparsity.py examples/fashion/model.compressed/engine/cpu/model.onnx

Printed are top-1 on the evaluation set, in brackets agreement with the original and SQNR, the share of zeros in the
written graph, and seconds of the processor for everything before training. With ``--steps``, all rows are trained alike
to imitate the original, without labels. Of the graph of an engine, the zeros in its weights are printed.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from pruning import accuracy, recover
from pruning_cases import Case, open_case

from compress.model import Model
from compress.prune.sparsify_step import SparsifySettings, sparsify
from compress.prune.sparsity import zero_shares
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target
from compress.weight_matrices import find_matrices, two_of_four

SEED = 0
ROWS: dict[str, dict[str, Any]] = {
    "magnitude": {"update": "none"},
    "magnitude, least squares": {"choice": "magnitude"},
    "error, least squares": {"choice": "error"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="fashion, mobilenetv2, sentiment, or the path of a graph")
    parser.add_argument("--patterns", nargs="+", default=["2:4", "1:4", "unstructured/0.8", "16x1/0.5"])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--steps", type=int, default=0, help="of training, the same for all rows")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--samples", type=int, default=4096, help="without labels, of fashion and sentiment")
    parser.add_argument("--size", type=int, default=224, help="mobilenetv2: pixels of a side")
    parser.add_argument("--evaluated", type=int, default=0, help="samples of the evaluation set, 0 for all")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.what.endswith(".onnx"):
        show_zeros(Model.from_bytes(Path(options.what).read_bytes()))
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    case = open_case(options.what, samples=options.samples, size=options.size, evaluated=options.evaluated)
    print(f"original: {accuracy(case, case.model)}")
    print(f"{'pattern':18}{'zeros chosen by':26}{'zeros':>7} {'seconds':>8} {'before training':>28} {'after':>28}")
    for text in options.patterns:
        pattern, _, ratio = text.partition("/")
        for name in options.rows:
            show(case, (pattern, ratio), name, options)


def show_zeros(model: Model) -> None:
    """Print how many zeros the weights of a graph have."""
    matrices = find_matrices(model.graph.graph)
    for node, share in zero_shares(model, matrices).items():
        print(f"{node:40}{share:8.2%}")
    print(f"{zeros(model):.2%} of the weights that have any; {len(two_of_four(model))} of {len(matrices)} follow 2:4")


def show(case: Case, wanted: tuple[str, str], name: str, options: argparse.Namespace) -> None:
    """Print one row of the table."""
    pattern, ratio = wanted
    settings = SparsifySettings.model_validate(
        {"pattern": pattern, "steps": 0, **({"ratio": float(ratio)} if ratio else {}), **ROWS[name]}
    )
    with tempfile.TemporaryDirectory() as folder:
        context = StepContext(
            load_target("cpu"), case.calibration, options.threads, SEED, Store(Path(folder)), lambda *_: None,
            original=case.model,
        )  # fmt: skip
        start = time.process_time()
        sparse = sparsify(case.model, settings, context).model
        seconds = time.process_time() - start
    before = accuracy(case, sparse)
    after = ""
    if options.steps:
        sparse = recover(case, sparse, options, sparse=True)
        after = accuracy(case, sparse)
    cost = f"{zeros(sparse):7.1%} {seconds:8.1f}"
    print(f"{pattern + ' ' + ratio:18}{name:26}{cost} {before:>28} {after:>28}", flush=True)


def zeros(model: Model) -> float:
    """Return the share of exact zeros in the weights of the written graph that have as many as a pattern leaves."""
    matrices = find_matrices(model.graph.graph)
    constants = model.graph.graph.initializers
    sizes = {each.node: constants[each.initializer].const_value for each in matrices}
    shares = {node: share for node, share in zero_shares(model, matrices).items() if share > 0}
    counted = {node: tensor.size for node in shares if (tensor := sizes[node]) is not None}
    return sum(shares[node] * size for node, size in counted.items()) / max(1, sum(counted.values()))


if __name__ == "__main__":
    main()
