from pathlib import Path

import pytest
import tensorrt_corpus
import tensorrt_corpus_qdq
from tensorrt_oracle import CAPABILITIES, Judgement, judge

CASES = (*tensorrt_corpus.operators_by_type(), *tensorrt_corpus_qdq.qdq_forms(), *tensorrt_corpus_qdq.bodies())
EVERY = 29
"""The share of the corpus that each run compiles; the rest is slow."""


def disagreements(judgements: list[Judgement]) -> list[str]:
    return [
        f"{found.outcome}: {found.case} ({found.reason or found.problems[0]})"
        for found in judgements
        if found.outcome in ("too strict", "missed")
    ]


def test_the_corpus_is_large_and_every_graph_has_its_own_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 1000


@pytest.mark.rtx
@pytest.mark.parametrize("capability", ["7.5", "8.6"])
def test_checker_and_compiler_agree_on_a_share_of_the_corpus(tmp_path: Path, capability: str) -> None:
    import tensorrt_rtx_bindings as trt

    judgements = judge(trt, CASES[::EVERY], capability, tmp_path)
    assert disagreements(judgements) == []
    assert {"both take it", "both refuse it", "mistreated"} == {found.outcome for found in judgements}


@pytest.mark.rtx
@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_checker_and_compiler_agree_on_the_whole_corpus(tmp_path: Path, capability: str) -> None:
    import tensorrt_rtx_bindings as trt

    assert disagreements(judge(trt, CASES, capability, tmp_path)) == []
