"""BatchNormalization while a student trains: unfolded, and folded into the convolutions before training.

    python examples/fetch.py fashion-mnist
    python benchmarks/batch_norm.py [--steps 600] [--threads 2]

A student of half the width of the Fashion-MNIST example imitates it on the calibration samples, without labels, from
random weights. So does the example itself with noise of half their spread on all kernels: what is left of a network
after pruning is not random either. Both forms start from the same weights and see the same batches; the accuracy is
that of the folded graph on the 10,000 test images, in ONNX Runtime.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from compress.batch_norm import fold_batch_norm
from compress.data.binding import bind_samples
from compress.data.metrics import load_metric
from compress.data.recipes import load_samples
from compress.data.samples import SampleSet
from compress.distill.augment import ImageAugmentation
from compress.distill.choice import DistillSettings
from compress.distill.imitation import imitate
from compress.intake import IntakeOptions, take_in
from compress.measure.score import measure_score
from compress.model import Model
from compress.quiet import quiet
from compress.runtimes import open_graph
from compress.torchnet.roles import trainable_initializers

EXAMPLE = Path(__file__).parent.parent / "examples" / "fashion"
sys.path.insert(0, str(EXAMPLE))


def half_width(teacher: Model) -> Model:
    """Return the example's network with half its channels, with random weights and the teacher's interface."""
    from train import BasicBlock, FashionNet, InvertedResidual, save

    torch.manual_seed(0)
    net = FashionNet()
    net.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    net.stages = nn.Sequential(
        InvertedResidual(8, 24, 32, stride=2),
        BasicBlock(32),
        InvertedResidual(32, 64, 32, stride=1),
        InvertedResidual(32, 96, 64, stride=2),
        BasicBlock(64),
        InvertedResidual(64, 128, 64, stride=1),
    )
    net.head = nn.Linear(64, 10)
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "student.pt2"
        save(net, path)
        graph = take_in(path, IntakeOptions()).trainable.copy_graph()
    graph.graph.outputs[0].name = teacher.outputs[0].name
    return Model.from_ir(graph)


def forms(unfolded: Model) -> dict[str, Model]:
    """Return a graph with BatchNormalization, and the same one with it folded into the weights."""
    return {"folded": fold_batch_norm(unfolded), "unfolded": unfolded}


def disturbed(model: Model, share: float, seed: int) -> Model:
    """Return a model with noise added to all kernels, of a share of their own spread."""
    graph = model.copy_graph()
    generator = np.random.default_rng(seed)
    for name in trainable_initializers(graph.graph):
        value = graph.graph.initializers[name]
        assert value.const_value is not None
        array = value.const_value.numpy()
        if array.ndim > 1:
            noise = generator.standard_normal(array.shape, dtype=np.float32) * array.std() * share
            value.const_value = ir.tensor(array + noise, name=name)
    return Model.from_ir(graph)


def accuracy(model: Model, evaluation: SampleSet) -> float:
    """Return top-1 (fraction) after folding."""
    with open_graph(forms(model)["folded"].to_bytes(), threads=1) as session:
        return measure_score(session, evaluation, load_metric("top1", Path()), batch=64).estimate.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    teacher = take_in(EXAMPLE / "model.pt", IntakeOptions()).model
    training = bind_samples(load_samples("fashion-mnist/calibration", base=EXAMPLE), teacher.inputs)
    evaluation = bind_samples(load_samples("fashion-mnist/test", base=EXAMPLE), teacher.inputs)
    print(f"teacher {100 * accuracy(teacher, evaluation):.2f} %, {len(training)} samples, {options.steps} steps")
    print(f"{'student':<34}{'BatchNorm':<12}{'rate':>6}{'before %':>10}{'after %':>10}{'seconds':>9}")
    for name, student, rates in (
        ("half width, random weights", half_width(teacher), (1e-3, 3e-3)),
        (
            "full width, kernels disturbed",
            disturbed(take_in(EXAMPLE / "model.pt", IntakeOptions()).trainable, 0.5, 0),
            (3e-4, 1e-3),
        ),
    ):
        before = accuracy(student, evaluation)
        for form, model in forms(student).items():
            for rate in rates:
                settings = DistillSettings(
                    steps=options.steps,
                    batch=64,
                    learning_rate=rate,
                    augment=ImageAugmentation(mirror=True, shift=2),
                    batch_norm="train" if form == "unfolded" else "frozen",
                )
                start = time.perf_counter()
                done = imitate(
                    model, teacher, training, settings,
                    seed=0, checkpoint=None, progress=lambda *_: None, threads=options.threads,
                )  # fmt: skip
                seconds = time.perf_counter() - start
                after = accuracy(done.model, evaluation)
                print(
                    f"{name:<34}{form:<12}{rate:>6.0e}{100 * before:>10.2f}{100 * after:>10.2f}{seconds:>9.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
