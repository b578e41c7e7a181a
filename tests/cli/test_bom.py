import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from small_project import Compress

from compress.evidence.bom import FILE_NAME
from compress.report.json_file import read_report
from compress.store import hash_file


def test_a_run_leaves_one_that_names_the_files_it_left(compress: Compress, results: Path) -> None:
    text = (results / FILE_NAME).read_text()
    assert list(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True) or []) == []
    components = {component["bom-ref"]: component for component in json.loads(text)["components"]}
    files = {file["name"]: file["hashes"][0]["content"] for file in components["engine/board"]["components"]}
    assert files
    assert all(hash_file(results / name) == digest for name, digest in files.items())
    told = read_report(results)
    assert told.data.evaluation is not None
    assert components["data/evaluation"]["hashes"][0]["content"] == told.data.evaluation.digest
    assert components["model.onnx"]["hashes"][0]["content"] == hash_file(results / "model.onnx")
