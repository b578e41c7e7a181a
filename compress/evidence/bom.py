"""``bom.cdx.json``: what the results are made of, as a CycloneDX 1.6 bill of materials for machine learning.

Source: CycloneDX 1.6, JSON reference. The library writes everything but the model cards, which it does not know yet.
"""

import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from compress.evidence.model_card import describe_card
from compress.model import Model
from compress.report.record import DataSet, EngineFile, Report, TargetRecord
from compress.store import hash_file, write_atomically

FILE_NAME: Final = "bom.cdx.json"
SOURCE: Final = "source-model"
"""The reference of the model that came in."""

_GRAPH = "model.onnx"
_NAMESPACE = "edge-compress"


def write_bom(report: Report, model: Model, folder: Path) -> None:
    """Write the bill of materials of a folder whose engines are there.

    Args:
        report: Of the run.
        model: The graph that was taken in: what goes in and comes out.
        folder: Of the results.
    """
    bom = _collect(report, folder)
    content: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    cards = {engine_reference(target): describe_card(target, report, model) for target in report.targets}
    for component in content["components"]:
        if component["bom-ref"] in cards:
            component["modelCard"] = cards[component["bom-ref"]]
    write_atomically(folder / FILE_NAME, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def engine_reference(target: TargetRecord) -> str:
    """Return the reference of a target's engine."""
    return f"engine/{target.target}"


def data_reference(role: str) -> str:
    """Return the reference of the samples of a role."""
    return f"data/{role}"


def _collect(report: Report, folder: Path) -> Bom:
    digest = report.source.sha256
    result = Component(name=report.source.path, type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref="results")
    result.description = f"{report.source.path} for {', '.join(target.target for target in report.targets)}"
    result.properties.update(
        [_property("verdict", report.verdict.status), _property("seed", str(report.seed))]
        + ([_property("command", report.command)] if report.command else [])
    )
    tool = _package("edge-compress", report.tool.version, ComponentType.APPLICATION)
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"edge-compress:{digest}:{report.created}"),
        metadata=BomMetaData(
            timestamp=datetime.fromisoformat(report.created),
            tools=ToolRepository(components=[tool]),
            component=result,
        ),
    )
    made_from = [_source(report), _graph(folder), *_data(report)]
    packages = {name: _package(name, version) for name, version in report.tool.packages.items()}
    bom.components.update([*made_from, *packages.values()])
    engines = [_engine(target) for target in report.targets]
    bom.components.update(engines)
    bom.register_dependency(result, engines)
    for target, engine in zip(report.targets, engines, strict=True):
        needed = target.engine.versions if target.engine else {}
        others = [_package(name, version) for name, version in needed.items() if name not in packages]
        bom.components.update(others)
        runs_with = [*(packages[name] for name in needed if name in packages), *others]
        bom.register_dependency(engine, [*made_from, *runs_with])
    return bom


def _source(report: Report) -> Component:
    source = report.source
    return Component(
        name=source.path,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=SOURCE,
        description=f"The model that came in: {source.kind}, {source.parameters} parameters",
        hashes=[_hash(source.sha256)],
        properties=[_property("bytes", str(source.bytes)), _property("macs", str(source.macs))],
    )


def _graph(folder: Path) -> Component:
    return Component(
        name=_GRAPH,
        type=ComponentType.FILE,
        bom_ref=_GRAPH,
        description="The float graph that was taken in",
        hashes=[_hash(hash_file(folder / _GRAPH))],
    )


def _data(report: Report) -> list[Component]:
    used = {"calibration": report.data.calibration, "evaluation": report.data.evaluation}
    return [_data_set(role, samples) for role, samples in used.items() if samples is not None]


def _data_set(role: str, samples: DataSet) -> Component:
    made_up = "made-up " if samples.synthetic else ""
    return Component(
        name=samples.name,
        type=ComponentType.DATA,
        bom_ref=data_reference(role),
        description=f"{samples.samples} {made_up}samples for {role}; the hash is of samples, labels and transforms",
        hashes=[_hash(samples.digest)],
    )


def _engine(target: TargetRecord) -> Component:
    engine = target.engine
    files = [] if engine is None else [_file(file, engine_reference(target)) for file in engine.files]
    return Component(
        name=target.target,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=engine_reference(target),
        description=f"Engine for {target.runtime}" if engine else f"No engine: {target.error}",
        components=files,
        properties=[
            _property("runtime", target.runtime),
            _property("dialect", target.dialect),
            _property("verdict", target.verdict.status),
            *([] if engine is None else [_property("kind", engine.kind)]),
        ],
    )


def _file(file: EngineFile, engine: str) -> Component:
    return Component(
        name=file.path,
        type=ComponentType.FILE,
        bom_ref=f"{engine}#{file.path}",
        hashes=[_hash(file.sha256)],
        properties=[_property("bytes", str(file.bytes))],
    )


def _package(name: str, version: str, kind: ComponentType = ComponentType.LIBRARY) -> Component:
    purl = PackageURL(type="pypi", name=name, version=version)
    return Component(name=name, version=version, type=kind, purl=purl, bom_ref=str(purl))


def _hash(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _property(name: str, value: str) -> Property:
    return Property(name=f"{_NAMESPACE}:{name}", value=value)
