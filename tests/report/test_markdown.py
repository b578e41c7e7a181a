import re

import pytest
from small_reports import cpu_target, jetson_target, report, step, unbuilt_target

from compress.errors import ExitCode
from compress.report.markdown import render_markdown
from compress.report.record import Data, VerdictRecord


@pytest.fixture
def text() -> str:
    return render_markdown(report())


def test_the_verdict_comes_first(text: str) -> None:
    assert text.startswith(
        "# Compression report: model.pt\n\n**PASS** (exit code 0)\n\n- All is well.\n\n## cpu: PASS\n"
    )


def test_targets_are_tables_of_original_against_int8(text: str) -> None:
    assert "|  | original | INT8 | difference (95 % interval) |\n| --- | --- | --- | --- |\n" in text
    assert "| top1 | 92.31 % | 92.01 % | drop +0.30 points (+0.10 to +0.50) |" in text
    assert "| latency p50 | 4.00 ms | 2.00 ms | 2.00× faster (1.95× to 2.05×) |" in text
    assert "| latency p99 | 8.00 ms | 4.00 ms |  |" in text
    assert "| size | 1.20 MB | 312 KB | 0.26× the size |" in text


def test_what_was_not_measured_is_said(text: str) -> None:
    assert "| latency |  |  | not measured (no device) |" in text
    assert "| top1 (simulated) | 92.31 % | 92.01 % |" in text
    assert "- Accuracy: simulated on the CPU, 10000 samples, 95 % interval by Newcombe's" in text
    assert "- jetson-orin-nano: no device: nothing was measured on it; " in text


def test_conditions_notes_and_machine_facts_are_there(text: str) -> None:
    for part in (
        "- Engine: onnx for onnxruntime, dialect u8s8, onnxruntime 1.31.1",
        "- Compute nodes: 23 int8, 2 float32\n",
        "McNemar mid-p 0.012",
        "- Latency: 400 rounds timed in turn with the original, 1 thread(s), batch 1",
        "- The ratio is known to 5.0% only.",
        "- TensorRT-RTX compiled it for sm86.",
        "- cpu: measured on this machine; Imaginary CPU (x86-vnni); 2 cores, 8.00 GB memory; Linux 6.1, Python 3.11.7",
        "; governor performance; load 0.4; steal 0 %; 41 °C; virtual machine\n",
    ):
        assert part in text


def test_steps_data_source_files_and_command_are_there(text: str) -> None:
    for part in (
        "| all | export | observer mse, percentile none | 1.23 s | sqnr_db 24.12 |",
        "| cpu | quantize | observer mse, percentile none | 1.23 s | sqnr_db 24.12 |",
        f"| calibration | fashion-mnist/calibration | 1024 |  | {'2' * 64} |",
        f"| evaluation | fashion-mnist/test | 10000 | none | {'3' * 64} |",
        f"- model.pt: torch.export archive, 1.25 MB, sha256 {'cd' * 32}",
        "- 312,345 parameters, 12,345,678 multiply-accumulates a sample",
        "SQNR 120.5 dB, agreement 100.00 %, largest difference 1e-06 on 16 samples",
        "- Batch normalization is folded.",
        f"| cpu | engine/cpu/model.onnx | 312 KB | {'ab' * 32} |",
        "```sh\ncompress run model.pt --target cpu --seed 0\n```",
        "edge-compress 0.1.0, seed 0, 2026-01-02T03:04:05Z. numpy 2.4.6, onnxruntime 1.31.1\n",
    ):
        assert part in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head(text: str) -> None:
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        assert len({line.count(" | ") for line in table.strip().splitlines()}) == 1


def test_a_target_without_an_engine_says_why() -> None:
    text = render_markdown(report(unbuilt_target()))
    assert (
        "## rtx-ada: FAIL: the target cannot be built or reached here\n\nNo engine: TensorRT-RTX is not installed."
        in text
    )
    assert "## Files" not in text


def test_overlap_made_up_samples_and_notes_on_data_are_said() -> None:
    data = report().data
    assert data.evaluation is not None
    shared = data.evaluation.model_copy(update={"overlap_with_calibration": 37, "synthetic": True})
    changed = report().model_copy(
        update={"data": Data(calibration=None, evaluation=shared, notes=("Calibrated on made-up samples.",))}
    )
    text = render_markdown(changed)
    assert f"| evaluation | fashion-mnist/test (made up) | 10000 | 37 samples | {'3' * 64} |" in text
    assert "- Calibrated on made-up samples." in text


def test_a_run_without_samples_or_command_says_so() -> None:
    bare = report().model_copy(update={"data": Data(calibration=None, evaluation=None), "command": None, "steps": ()})
    text = render_markdown(bare)
    assert "No samples were given." in text
    assert "```" not in text


def test_text_from_outside_cannot_break_out_of_its_cell_or_line() -> None:
    nasty = "a|b`c`\n# <script>[x](y)*"
    target = cpu_target().model_copy(update={"target": nasty})
    source = report().source.model_copy(update={"path": nasty})
    made = report(
        target, jetson_target(), verdict=VerdictRecord(status="pass", exit_code=ExitCode(0), reasons=(nasty,))
    )
    text = render_markdown(made.model_copy(update={"source": source, "command": "run ```\n# x"}))
    escaped = "a\\|b\\`c\\` # &lt;script&gt;\\[x](y)\\*"
    assert text.startswith(f"# Compression report: {escaped}\n")
    assert f"- {escaped}\n" in text
    assert f"| {escaped} | quantize |" in text
    assert "<script>" not in text
    assert "````sh\nrun ```\n# x\n````" in text


def test_what_a_step_measured_layer_by_layer_stays_in_the_json() -> None:
    sparse = step("sparsify").model_copy(update={"metrics": {"zero_share": 0.5, "layers": {"conv": 0.5}}})
    text = render_markdown(report().model_copy(update={"steps": (sparse,)}))
    (row,) = [line for line in text.splitlines() if "| sparsify |" in line]
    assert row.endswith("| zero_share 0.5 |")
