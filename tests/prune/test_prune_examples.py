"""The networks of the examples, whole."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from cutting import assert_cut_equals_masked, described, half_of, prunable_share

from compress.intake import IntakeOptions, take_in
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.groups import Coupling, Cuts

ROOT = Path(__file__).parents[2]


def half_of_everything(coupling: Coupling) -> Cuts:
    return {group.name: half_of(group) for group in coupling.groups}


def make(name: str) -> Model:
    spec = importlib.util.spec_from_file_location("benchmark_of_coupling", ROOT / "benchmarks" / "coupling.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark
    spec.loader.exec_module(benchmark)
    torch.manual_seed(0)
    model: Model = benchmark.NETWORKS[name]()
    return model


def test_half_of_every_group_of_the_fashion_example_can_be_cut() -> None:
    model = take_in(ROOT / "examples" / "fashion" / "model.pt", IntakeOptions()).model
    coupling = analyse(model)
    assert len(coupling.groups) == 9
    assert prunable_share(model, coupling) >= 0.95
    feed = {"image": torch.randn((3, 1, 28, 28), generator=torch.Generator().manual_seed(0))}
    smaller = assert_cut_equals_masked(model, coupling, half_of_everything(coupling), [feed])
    assert len(smaller.to_bytes()) < 0.3 * len(model.to_bytes())


@pytest.mark.slow
def test_half_of_every_group_of_mobilenetv2_can_be_cut() -> None:
    model = make("mobilenetv2")
    coupling = analyse(model)
    assert len(coupling.groups) == 25
    assert prunable_share(model, coupling) >= 0.95
    feed = {"image": torch.randn((2, 3, 224, 224), generator=torch.Generator().manual_seed(0))}
    assert_cut_equals_masked(model, coupling, half_of_everything(coupling), [feed])


@pytest.mark.slow
def test_half_of_every_group_of_the_sentiment_example_can_be_cut() -> None:
    model = make("sentiment")
    coupling = analyse(model)
    families = [family for family, _, _ in described(coupling).values()]
    assert (families.count("heads"), families.count("matmul")) == (6, 7)
    assert prunable_share(model, coupling) >= 0.85
    tokens = torch.randint(0, 30_000, (3, 11), generator=torch.Generator().manual_seed(0))
    feed = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    assert_cut_equals_masked(model, coupling, half_of_everything(coupling), [feed])
