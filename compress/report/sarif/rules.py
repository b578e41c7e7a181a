"""The rules that results are of: what each one means and what to do about it, as SARIF's ``reportingDescriptor``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from compress.report.sarif.findings import Level

GATE: Final = "gate/"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: a name in one word, what it checks, what to do where it is broken, and how grave that is."""

    name: str
    checks: str
    help: str
    level: Level = "error"

    def describe(self, identifier: str) -> dict[str, object]:
        """Return the descriptor."""
        return {
            "id": identifier,
            "name": self.name,
            "shortDescription": {"text": self.checks},
            "fullDescription": {"text": self.checks},
            "help": {"text": self.help, "markdown": self.help},
            "defaultConfiguration": {"level": self.level},
            "properties": {"tags": ["compression", "gate" if identifier.startswith(GATE) else "lint"]},
        }


RULES: Final[Mapping[str, Rule]] = {
    "gate/engine": Rule(
        "EngineIsBuilt",
        "There is an engine for the target.",
        "The compiler refused the graph, or something is missing here: the message says what. `compress doctor` names "
        "the command that installs what is missing.",
    ),
    "gate/accuracy": Rule(
        "AccuracyDrop",
        "The engine loses no more accuracy than `max_drop` allows.",
        "The whole confidence interval must lie within the budget. Where it is beyond, try `--recipe best`, or the "
        "steps `mixed` and `qat`; `compress diagnose` shows the layers that lose most. Where it lies on both sides, "
        "evaluate on more samples: the message says about how many.",
    ),
    "gate/latency": Rule(
        "Latency",
        "The p99 latency of the engine is at most `max_latency`.",
        "Measure on an idle machine, prune (`--prune 50%macs`), or allow more threads. The report's roofline says how "
        "far the engine is from what this device can do at best.",
    ),
    "gate/speed-up": Rule(
        "SpeedUp",
        "The engine is faster than the original by `min_speedup` at least.",
        "The report says which layers stayed float and where the time goes; `--prune` takes work away.",
    ),
    "gate/size": Rule(
        "EngineSize",
        "The engine has no more bytes than `max_size` allows.",
        "INT8 takes a quarter of float32. For less: `--prune 50%bytes`, or the recipe `int4-weights`.",
    ),
    "lint/data": Rule(
        "Samples",
        "The samples are what an accuracy and a calibration can rest on.",
        "Give calibration samples of their own, some hundreds, like those that the model will see: `[data]` in "
        "compress.toml, or `--data` and `--eval`.",
        "warning",
    ),
    "lint/model": Rule(
        "ModelNote",
        "How the model file was read.",
        "Nothing has to be done where the sentence is what you expected.",
        "note",
    ),
    "lint/float-is-fastest": Rule(
        "FloatIsFastest",
        "The compressed engine is faster than the original.",
        "No INT8 engine was faster here, and the original graph is shipped. Another target or provider, or pruning, "
        "may change that.",
        "warning",
    ),
    "lint/not-fused": Rule(
        "LayerNotFused",
        "What is quantized runs as integers.",
        "The runtime has no integer kernel for this place: it dequantizes and computes in float. Leave the layer in "
        "float (`exclude` of the step `quantize`), which is as fast and more accurate.",
        "warning",
    ),
    "lint/noisy-layer": Rule(
        "NoisyLayer",
        "No single layer costs the accuracy.",
        "Leave the layer in float with the step `mixed` or `exclude`, or train with the step `qat`.",
        "note",
    ),
    "lint/latency": Rule(
        "UnsteadyLatency",
        "The machine was steady while latency was measured.",
        "Measure again on an idle machine with a fixed clock, or longer: `--latency-seconds 30`.",
        "warning",
    ),
    "lint/engine": Rule(
        "EngineNote",
        "What is to be known about how the engine was made.",
        "Nothing has to be done where the sentence is what you expected.",
        "note",
    ),
}


def find_rule(identifier: str) -> Rule:
    """Return a rule by its identifier; one of the gate that has no text of its own is described by its name."""
    if identifier in RULES:
        return RULES[identifier]
    words = identifier.removeprefix(GATE)
    name = "".join(part.capitalize() for part in words.replace("_", "-").split("-"))
    return Rule(name, f"The policy's rule `{words}` holds.", "`compress gate` explains every rule of the policy.")
