"""Statistics of paired comparisons: what was lost, how sure that is, and what would make it surer.

Everything is paired: both engines see the same samples, and latency rounds time both in turn. Randomness comes from a
seed; the same data and seed give the same interval.
"""

from compress.measure.statistics.bootstrap import bootstrap_value, paired_bootstrap
from compress.measure.statistics.calibration import CalibrationChange, calibration_change, calibration_error
from compress.measure.statistics.combined import independent_difference, independent_ratio
from compress.measure.statistics.decisions import (
    POWER,
    Decision,
    decide_budget,
    decide_family,
    exceeds_p_value,
    family_p_values,
    hochberg_adjust,
    holm_adjust,
    samples_to_decide,
)
from compress.measure.statistics.estimate import (
    CONFIDENCE,
    Estimate,
    Floats,
    Reduce,
    normal_quantile,
    normal_tail,
    rescale,
)
from compress.measure.statistics.latency import SESSION_SPREAD, percentile, ratio_of_medians, speed_ratio, widen_ratio
from compress.measure.statistics.paired import (
    PairedTable,
    mcnemar_p_value,
    newcombe_difference,
    noninferiority_p_value,
    paired_difference,
    proportion,
    score_interval,
    score_statistic,
    wilson_interval,
)

__all__ = [
    "CONFIDENCE",
    "POWER",
    "SESSION_SPREAD",
    "CalibrationChange",
    "Decision",
    "Estimate",
    "Floats",
    "PairedTable",
    "Reduce",
    "bootstrap_value",
    "calibration_change",
    "calibration_error",
    "decide_budget",
    "decide_family",
    "exceeds_p_value",
    "family_p_values",
    "hochberg_adjust",
    "holm_adjust",
    "independent_difference",
    "independent_ratio",
    "mcnemar_p_value",
    "newcombe_difference",
    "noninferiority_p_value",
    "normal_quantile",
    "normal_tail",
    "paired_bootstrap",
    "paired_difference",
    "percentile",
    "proportion",
    "ratio_of_medians",
    "rescale",
    "samples_to_decide",
    "score_interval",
    "score_statistic",
    "speed_ratio",
    "widen_ratio",
    "wilson_interval",
]
