"""The conformance cases that do not pass, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Listed:
    """Why a case does not pass, and whether that holds on every machine.

    One that fails everywhere and passes meanwhile fails the suite: take it out of the table.
    """

    reason: str
    everywhere: bool = True


_RANDOM = Listed("random numbers: the case expects those of NumPy's generator, ours are PyTorch's")
_DFT = Listed("where 0 is right the case expects NumPy's rounding error, 1.9e-7, and allows 1e-7", everywhere=False)
_SUM = Listed("where 0 is right we sum to 2.4e-7 in another order, and the case allows 1e-7", everywhere=False)

EXCEPTIONS: dict[str, Listed] = {
    "test_basic_deform_conv_with_padding": _SUM,
    "test_bernoulli": _RANDOM,
    "test_bernoulli_double": _RANDOM,
    "test_bernoulli_double_expanded": _RANDOM,
    "test_bernoulli_expanded": _RANDOM,
    "test_bernoulli_seed": _RANDOM,
    "test_bernoulli_seed_expanded": _RANDOM,
    "test_dft_inverse": _DFT,
    "test_dft_inverse_opset19": _DFT,
    "test_training_dropout": _RANDOM,
    "test_training_dropout_default": _RANDOM,
    "test_training_dropout_default_mask": _RANDOM,
    "test_training_dropout_mask": _RANDOM,
}
"""By name of the case."""
