"""The bill of materials is one by CycloneDX's own strict schema, and has every file, every sample set, every figure."""

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from small_project import nearest_mean_classifier
from small_reports import report

from compress.evidence.bom import FILE_NAME, write_bom


def check(path: Path) -> dict[str, Any]:
    """Return a bill of materials that the library's strict validator takes."""
    text = path.read_text(encoding="utf-8")
    errors = list(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True) or [])
    assert errors == []
    content: dict[str, Any] = json.loads(text)
    return content


@pytest.fixture
def bom(tmp_path: Path) -> dict[str, Any]:
    """Return the bill of materials of the hand-made report."""
    model = nearest_mean_classifier()
    (tmp_path / "model.onnx").write_bytes(model.to_bytes())
    write_bom(report(), model, tmp_path)
    return check(tmp_path / FILE_NAME)


def by_reference(bom: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {component["bom-ref"]: component for component in bom["components"]}


def test_it_is_of_the_version_that_it_says_and_always_the_same(tmp_path: Path, bom: dict[str, Any]) -> None:
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["tools"]["components"][0]["name"] == "edge-compress"
    again = tmp_path / "again"
    again.mkdir()
    (again / "model.onnx").write_bytes((tmp_path / "model.onnx").read_bytes())
    write_bom(report(), nearest_mean_classifier(), again)
    assert (again / FILE_NAME).read_bytes() == (tmp_path / FILE_NAME).read_bytes()


def test_models_samples_and_packages_are_components_of_their_kind(bom: dict[str, Any]) -> None:
    components, told = by_reference(bom), report()
    kinds = {reference: component["type"] for reference, component in components.items()}
    assert kinds["source-model"] == "machine-learning-model"
    assert kinds["data/evaluation"] == "data"
    assert components["source-model"]["hashes"] == [{"alg": "SHA-256", "content": told.source.sha256}]
    for name, version in told.tool.packages.items():
        assert kinds[f"pkg:pypi/{name}@{version}"] == "library"
    for target in told.targets:
        engine = components[f"engine/{target.target}"]
        assert engine["type"] == "machine-learning-model"
        assert target.engine is not None
        assert {(file["name"], file["hashes"][0]["content"]) for file in engine["components"]} == {
            (file.path, file.sha256) for file in target.engine.files
        }


def test_an_engine_depends_on_the_model_the_samples_and_its_runtime(bom: dict[str, Any]) -> None:
    dependencies = {each["ref"]: each.get("dependsOn", []) for each in bom["dependencies"]}
    needs = dependencies["engine/cpu"]
    assert {"source-model", "model.onnx", "data/calibration", "data/evaluation"} <= set(needs)
    assert any(reference.startswith("pkg:pypi/onnxruntime@") for reference in needs)
    assert set(dependencies["results"]) == {f"engine/{target.target}" for target in report().targets}


def test_a_card_has_what_was_measured_and_not_what_was_not(bom: dict[str, Any]) -> None:
    measured, simulated = (by_reference(bom)[f"engine/{target.target}"]["modelCard"] for target in report().targets)
    figures = {(each["type"], each["slice"]): each for each in measured["quantitativeAnalysis"]["performanceMetrics"]}
    accuracy = report().targets[0].accuracy
    assert accuracy is not None
    where = f"{accuracy.samples} samples, engine"
    assert figures["top1", f"compressed; {where}"]["value"] == f"{accuracy.compressed:.6g}"
    low, high = accuracy.interval
    assert figures["top1 drop", where]["confidenceInterval"] == {
        "lowerBound": f"{low:.6g}",
        "upperBound": f"{high:.6g}",
    }
    assert any(kind.startswith("latency") for kind, _ in figures)
    others = [each["type"] for each in simulated["quantitativeAnalysis"]["performanceMetrics"]]
    assert not any(kind.startswith("latency") for kind in others)
    assert measured["modelParameters"]["inputs"] == [{"format": "x: float32 [batch, 1, 28, 28]"}]


def test_a_target_without_an_engine_has_no_figures_and_no_files(tmp_path: Path) -> None:
    told = report()
    empty = {"engine": None, "accuracy": None, "latency": None, "fidelity": None, "error": "The compiler refuses it."}
    target = told.targets[0].model_copy(update=empty)
    model = nearest_mean_classifier()
    (tmp_path / "model.onnx").write_bytes(model.to_bytes())
    write_bom(told.model_copy(update={"targets": (target,)}), model, tmp_path)
    engine = by_reference(check(tmp_path / FILE_NAME))[f"engine/{target.target}"]
    assert "components" not in engine
    assert "quantitativeAnalysis" not in engine["modelCard"]
