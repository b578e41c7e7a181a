"""The flags of ``compress distill`` and the settings that they make."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.distill.choice import DistillSettings


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the settings that people change most."""
    training = parser.add_argument_group("training")
    training.add_argument("--settings", type=Path, metavar="FILE", help="TOML of settings (guide: Distillation)")
    training.add_argument("--steps", type=int, metavar="N", help="optimizer steps (default 1000)")
    training.add_argument("--epochs", type=int, metavar="N", help="passes over the samples instead")
    training.add_argument("--time-budget", metavar="TIME", help="90s, 10m: stop then, keep the best")
    training.add_argument("--batch", type=int, metavar="N", help="samples a step (default 32)")
    training.add_argument("--learning-rate", type=float, metavar="RATE", help="peak (default 0.001)")
    training.add_argument("--loss", metavar="NAME", help="auto (default), kl, mse, cosine")
    training.add_argument("--temperature", type=float, metavar="T", help="of the softmax in kl (default 2)")
    training.add_argument("--features", type=int, metavar="N", help="pairs of values inside both, compared too")
    training.add_argument("--attention-weight", type=float, metavar="W", help="compare attention maps too")
    training.add_argument("--task-weight", type=float, metavar="W", help="learn from labels too")
    training.add_argument("--mirror", action="store_true", help="mirror images at random")
    training.add_argument("--shift", type=int, metavar="PIXELS", help="shift images at random")
    training.add_argument("--threads", type=int, metavar="N", help="of PyTorch (default: all cores)")
    training.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what model files do not say themselves."""
    models = parser.add_argument_group("models (compress.toml beside each says the same in [model])")
    models.add_argument("--input", action="append", default=[], metavar="SPEC", help="image=batch,3,224,224:float32")
    models.add_argument("--teacher-factory", metavar="MODULE:CALLABLE", help="makes the module of a state dict")
    models.add_argument("--student-factory", metavar="MODULE:CALLABLE", help="likewise")
    models.add_argument("--trust-pickle", action="store_true", help="run the code in pickled modules: only your own")


def read_settings(options: argparse.Namespace) -> "DistillSettings":
    """Return the settings of the file (or of its table ``[distill]``, a recipe's), with those of the flags on top.

    Raises:
        ConfigError: An unknown key or a wrong value.
        UsageError: A duration or a number of threads that makes no sense.
    """
    from pydantic import ValidationError

    from compress.config import explain, read_toml
    from compress.distill.choice import DistillSettings
    from compress.errors import UsageError
    from compress.quantities import parse_duration

    if options.threads is not None and options.threads < 1:
        raise UsageError(f"--threads {options.threads} is not a positive number", hint="use --threads 1")
    table = read_toml(options.settings) if options.settings else {}
    inner = table.get("distill")
    table = inner if isinstance(inner, dict) else table
    names = ("steps", "epochs", "batch", "learning_rate", "loss", "temperature", "features", "device")
    flags = {name: getattr(options, name) for name in (*names, "attention_weight", "task_weight")}
    if options.time_budget is not None:
        flags["time_budget_seconds"] = parse_duration(options.time_budget)
    if options.mirror or options.shift is not None:
        flags["augment"] = {"mirror": options.mirror, "shift": options.shift or 0}
    try:
        return DistillSettings.model_validate({**table, **{k: v for k, v in flags.items() if v is not None}})
    except ValidationError as error:
        place = f"{options.settings} and flags" if options.settings else "flags"
        raise explain(error, place, DistillSettings) from error
