"""The checker beside TensorRT-RTX's compiler: small graphs that both take, both refuse, or that the compiler mistreats.

    pip install -e '.[rtx]'
    python benchmarks/tensorrt_corpus.py [8.6 7.5]

The corpus is in ``tests/support/tensorrt_corpus*.py``: operators × types, and the forms of Q/DQ, biases and bodies. A
graph is mistreated where the compiler takes it and the checker refuses it, with the reasons at the end; "missed" and
"too strict" are the checker's mistakes. Where the compiler refuses, "names a node" counts the errors that say which
node of the graph it is about; the others are listed at the end.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from tensorrt_corpus import operators_by_type
from tensorrt_corpus_qdq import bodies, qdq_forms
from tensorrt_oracle import CAPABILITIES, Outcome, judge

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def main() -> None:
    import tensorrt_rtx_bindings as trt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capabilities", nargs="*", default=CAPABILITIES, metavar="CAPABILITY")
    cases = (*operators_by_type(), *qdq_forms(), *bodies())
    print(f"| compute capability, {len(cases)} graphs | {' | '.join(OUTCOMES)} | names a node | seconds |")
    print("|" + "---|" * (len(OUTCOMES) + 3), flush=True)
    reasons: Counter[str] = Counter()
    nameless: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for capability in parser.parse_args().capabilities:
            start = time.perf_counter()
            found = judge(trt, cases, capability, Path(scratch))
            counts = Counter(judgement.outcome for judgement in found)
            refusals = [judgement for judgement in found if judgement.reason]
            nameless.update(judgement.reason for judgement in refusals if not judgement.names_node)
            named = f"{sum(judgement.names_node for judgement in refusals)} of {len(refusals)}"
            seconds = time.perf_counter() - start
            cells = (*(counts[outcome] for outcome in OUTCOMES), named, f"{seconds:.0f}")
            print(f"| {capability} | {' | '.join(map(str, cells))} |", flush=True)
            for judgement in found:
                if judgement.outcome in ("too strict", "missed"):
                    print(f"{judgement.outcome}: {judgement.case}: {judgement.reason} {judgement.problems}")
                if judgement.outcome == "mistreated":
                    reasons.update({problem.reason for problem in judgement.problems})
    print("names no node:", *(f"{count} × {reason}" for reason, count in nameless.most_common()), sep="\n  ")
    print("mistreated:", *(f"{count} × {reason}" for reason, count in reasons.most_common()), sep="\n  ")


if __name__ == "__main__":
    main()
