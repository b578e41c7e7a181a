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
    "gate/relative-drop": Rule(
        "RelativeAccuracyDrop",
        "The engine keeps the share of the original's accuracy that `max_drop_relative` or the preset demands.",
        "As for `max_drop`: `--recipe best`, the steps `mixed` and `qat`, or more samples where it is undecided.",
    ),
    "gate/class-drop": Rule(
        "ClassDrop",
        "No class loses more than `max_class_drop` allows.",
        "Look at the class: the page shows which classes lost and what is predicted instead. Calibrate on more samples "
        "of it, leave the noisiest layers in float (`mixed`), or evaluate on more samples where it is undecided.",
    ),
    "gate/slice-drop": Rule(
        "SliceDrop",
        "No slice of the samples loses more than `max_slice_drop` allows.",
        "Calibrate on samples of that slice too, or evaluate on more of them where it is undecided.",
    ),
    "gate/flips": Rule(
        "FlipRate",
        "No more samples than `max_flip_rate` allows are right in the original and wrong in the engine.",
        "The page shows the samples. Train the engine to imitate the original: the steps `qat` or `distill`.",
    ),
    "gate/calibration": Rule(
        "CalibrationErrorChange",
        "The engine's confidences are no worse than `max_calibration_error_change` allows.",
        "Leave the last layers in float (`exclude` of the step `quantize`), or train with `qat`.",
    ),
    "gate/latency": Rule(
        "Latency",
        "The p99 latency of the engine is at most `max_latency`.",
        "Measure on an idle machine, prune (`--prune 50%macs`), or allow more threads. The report's roofline says how "
        "far the engine is from what this device can do at best.",
    ),
    "gate/p99": Rule(
        "LatencyPercentile",
        "The p99 latency of the engine is at most `max_p99`.",
        "Measure on an idle machine, prune (`--prune 50%macs`), or allow more threads.",
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
    "gate/memory": Rule(
        "PeakMemory",
        "Loading and calling the engine takes no more memory at its peak than `max_memory` allows.",
        "Prune channels (`--prune 50%macs`), or use smaller batches (`--batch`); what was not measured here needs the "
        "device: `--device ssh://user@board`.",
    ),
    "gate/energy": Rule(
        "Energy",
        "A call takes no more energy than `max_energy` allows.",
        "It takes a device that measures its power: run the build kit there.",
    ),
    "gate/accuracy-regression": Rule(
        "AccuracyRegression",
        "The engine is no less accurate than that of the earlier report, by `max_accuracy_regression`.",
        "`compress diff` shows what changed between the reports.",
    ),
    "gate/latency-regression": Rule(
        "LatencyRegression",
        "The engine is no slower than that of the earlier report, by `max_latency_regression`.",
        "Measure both again on one idle machine; `compress diff` shows what changed between the reports.",
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
