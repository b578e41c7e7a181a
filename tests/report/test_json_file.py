import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from small_reports import cpu_target, report, unbuilt_target

from compress.errors import ConfigError
from compress.report.json_file import read_report, write_report
from compress.report.record import Fidelity, Report
from compress.report.schema import RECORDS, schema_path, schema_text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.json"


def content(path: Path) -> dict[str, object]:
    write_report(report(), path)
    return dict(json.loads(path.read_text()))


def refusal(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_report(path)
    assert caught.value.hint
    return caught.value


def test_a_report_that_is_written_and_read_is_the_same(path: Path) -> None:
    written = report(cpu_target(), unbuilt_target())
    write_report(written, path)
    assert read_report(path) == written
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]


def test_a_folder_stands_for_the_report_in_it(path: Path) -> None:
    write_report(report(), path)
    assert read_report(path.parent) == report()


def test_writing_replaces_the_report_before(path: Path) -> None:
    write_report(report(unbuilt_target()), path)
    write_report(report(), path)
    assert read_report(path) == report()


def test_a_folder_that_is_not_there_is_named_when_writing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*absent/report.json: No such file") as caught:
        write_report(report(), tmp_path / "absent" / "report.json")
    assert "folder" in str(caught.value.hint)


def test_a_missing_report_is_named(path: Path) -> None:
    assert refusal(path).message == f"{path} does not exist"


def test_broken_json_is_named_with_its_line(path: Path) -> None:
    path.write_text('{\n"schema": oops}')
    assert refusal(path).message == f"{path} is not JSON (line 2, column 11): Expecting value"


def test_json_without_end_of_nesting_is_named(path: Path) -> None:
    path.write_text("[" * 200_000)
    assert refusal(path).message.startswith(f"{path} is not JSON that can be read: ")


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_json_has_no_word_for_is_refused_wherever_it_stands(path: Path, number: str) -> None:
    settings = {**content(path), "steps": [{"settings": {"deep": ["NUMBER"]}}]}
    path.write_text(json.dumps(settings).replace('"NUMBER"', number))
    assert refusal(path).message == f"{path} is not JSON that can be read: the number {number}"


def test_a_number_of_more_digits_than_can_be_read_is_refused(path: Path) -> None:
    path.write_text(json.dumps(content(path)).replace('"seed": ', '"seed": ' + "9" * 5000))
    assert refusal(path).message.startswith(f"{path} is not JSON that can be read: ")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("seed",), -1),
        (("source", "bytes"), 2**63),
        (("verdict", "exit_code"), 3),
        (("targets", 0, "latency", "speedup"), 0),
        (("targets", 0, "latency", "compressed", "p50_interval", 0), -0.001),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_its_place(
    path: Path, place: tuple[str | int, ...], value: object
) -> None:
    write_report(report(cpu_target()), path)
    whole = json.loads(path.read_text())
    table = whole
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = value
    path.write_text(json.dumps(whole))
    assert f"{path}: `{'.'.join(map(str, place))}`: " in refusal(path).message


def test_a_file_that_is_no_text_is_named(path: Path) -> None:
    path.write_bytes(b"{\xff\xd8")
    assert refusal(path).message == f"{path} is not text (byte 1)"


@pytest.mark.parametrize("found", ["[]", "{}", '{"schema": "compress.report/2"}', '"text"'])
def test_another_schema_is_refused_by_name(path: Path, found: str) -> None:
    path.write_text(found)
    assert "is not a report of schema compress.report/1: its `schema` is" in refusal(path).message


def test_an_unknown_field_is_named_with_the_nearest_known_one(path: Path) -> None:
    path.write_text(json.dumps(content(path) | {"targetz": []}))
    error = refusal(path)
    assert "unknown key `targetz`" in error.message
    assert "`targets`" in str(error.hint)


def test_a_wrong_value_is_named_with_its_place(path: Path) -> None:
    path.write_text(json.dumps(content(path) | {"seed": "many"}))
    assert "`seed`" in refusal(path).message


def test_a_number_that_json_has_no_word_for_is_not_written() -> None:
    with pytest.raises(ValueError, match="finite"):
        Fidelity(sqnr_db=None, agreement=None, max_abs_error=float("inf"), samples=1)


@pytest.mark.parametrize("name", RECORDS)
def test_the_committed_schemas_are_current(name: str) -> None:
    assert schema_path(name).read_text(encoding="utf-8") == schema_text(name), "run `python -m compress.report.schema`"


def test_a_report_fits_the_committed_schema_and_a_changed_one_does_not() -> None:
    schema = json.loads(schema_path().read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for made in (report(), report(unbuilt_target())):
        assert list(validator.iter_errors(json.loads(made.to_json()))) == []
    for change in ({"schema": "compress.report/2"}, {"extra": 1}, {"verdict": {"status": "pass"}}):
        assert not validator.is_valid(json.loads(report().to_json()) | change)


def test_every_field_is_required_of_a_written_report() -> None:
    schema = json.loads(schema_text())
    assert set(schema["required"]) == {field.alias or name for name, field in Report.model_fields.items()}
