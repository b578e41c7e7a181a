"""Whether TensorRT may use sparse tensor cores: the target has them, and weights follow 2:4."""

from collections.abc import Sequence

from compress.model import Model
from compress.targets import Target
from compress.weight_matrices import WeightMatrix, two_of_four


def find_sparse(model: Model, target: Target) -> tuple[WeightMatrix, ...]:
    """Return the weights that the target's sparse tensor cores can take; none where it has no such cores."""
    return two_of_four(model) if "2:4" in target.sparsity else ()


def describe_sparsity(sparse: Sequence[WeightMatrix]) -> tuple[str, ...]:
    """Return the sentence for the report about weights that follow 2:4; none where there are none."""
    if not sparse:
        return ()
    what = "1 weight follows" if len(sparse) == 1 else f"{len(sparse)} weights follow"
    return (f"{what} 2:4: sparse kernels are allowed, and the compiler takes them where it finds them faster.",)
