"""The contest for the fastest engine: every graph on every execution provider that is here; the fastest is shipped."""

import logging
import time
from dataclasses import dataclass, replace
from math import inf

from compress.contestants import Entry, Graph, Stage, fidelity_db, race_entries
from compress.data.samples import SampleSet
from compress.engines import Engines, Shipped
from compress.errors import CompressError
from compress.gate import Policy
from compress.measure.fidelity import Outputs
from compress.measure.race import RaceLimits
from compress.options import Plan
from compress.precision import count_precisions
from compress.report.contest import state_finding
from compress.report.speed_record import Contest, Contestant
from compress.report.units import format_bytes
from compress.runtimes import Engine, Feed
from compress.runtimes.batching import fixed_batch, in_batches
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.variants import Absent, VariantRuntime, describe_feed, load_variants
from compress.steps import Progress

log = logging.getLogger("compress")

_CHECKED_SAMPLES = 8
_FIRST_RACE_SHARE = 0.6
_SIZE_STEP = "weight-only"


def choose_engine(engines: Engines, samples: SampleSet, plan: Plan, progress: Progress) -> Engines:
    """Return the engines with the fastest one chosen and packed: its folder then has what loads it.

    Candidates are the compressed and the original graph on every execution provider that is installed; each must give
    the outputs that it should on a few samples before it may race. Then the winner's settings are raced. Where the
    engine cannot run here, or no time is allowed, the compressed graph with default settings is packed unraced; a run
    that repeats another one packs what that one chose.

    Raises:
        CompressError: The chosen graph cannot be packed.
    """
    runtime = load_variants(engines.target.runtime)
    if runtime is None or engines.baseline is None:
        return engines
    task = f"{engines.target.name}: fastest engine"
    progress(task, 0, 1)
    batch = fixed_batch(engines.original) or plan.options.batch
    feed = next(iter(samples.batches(batch))).inputs
    choice = plan.choices.get(engines.target.name)
    options = (choice and choice.options) or EngineOptions(threads=plan.options.threads)
    entries = _candidates(engines, (options,), engines.baseline)
    chosen, contest = entries[0], None
    here = plan.emulated is None and plan.board is None
    if choice is not None:
        chosen = next((entry for entry in entries if entry.graph == choice.graph), entries[0])
    elif engines.available.run and here and plan.engine.seconds > 0:
        chosen, contest = _hold_contest(_Arena(runtime, engines, engines.baseline, samples, plan, feed))
        log.info("%s: %s", engines.target.name, contest.finding)
    packed = runtime.pack_engine(engines.compressed, chosen.path, chosen.options, describe_feed(feed))
    progress(task, 1, 1)
    return replace(engines, compressed=packed, shipped=Shipped(chosen.graph, chosen.options), contest=contest)


@dataclass(frozen=True, slots=True)
class _Arena:
    """Everything that a contest needs."""

    runtime: VariantRuntime
    engines: Engines
    baseline: Engine
    samples: SampleSet
    plan: Plan
    feed: Feed


def _hold_contest(arena: _Arena) -> tuple[Entry, Contest]:
    """Return the winner of both races and the record of the contest."""
    start = time.perf_counter()
    threads, seconds = arena.plan.options.threads, arena.plan.engine.seconds
    variants = arena.runtime.list_variants(threads=threads, providers=arena.plan.engine.providers)
    barred = _why_original_may_not_race(arena.engines, arena.baseline, arena.plan.policy)
    entries = _candidates(arena.engines, variants.options, arena.baseline)
    entries = [entry for entry in entries if barred is None or entry.graph != "original"]
    stage = _set_stage(arena, entries[0])
    place, told = race_entries(stage, entries, RaceLimits(seconds=_FIRST_RACE_SHARE * seconds))
    winner = entries[place or 0]
    settings: tuple[Contestant, ...] = ()
    changed = arena.runtime.list_settings(winner.options) if place is not None else ()
    if changed:
        limits = RaceLimits(seconds=(1 - _FIRST_RACE_SHARE) * seconds, first_until_beaten=True)
        entries = [winner, *(replace(winner, options=options) for options in changed)]
        place, settings = race_entries(stage, entries, limits)
        winner = entries[place or 0]
    return winner, Contest(
        engines=told,
        settings=settings,
        absent=(*map(_say_absent, variants.absent), *([barred] if barred else [])),
        shipped=winner.how,
        finding=state_finding(told, settings),
        threads=threads,
        batch=len(next(iter(arena.feed.values()))),
        seconds=time.perf_counter() - start,
    )


def _candidates(engines: Engines, variants: tuple[EngineOptions, ...], baseline: Engine) -> list[Entry]:
    """Return both graphs in every variant, the compressed one first; one graph only where the two are the same."""
    label = "INT8" if "int8" in count_precisions(engines.model) else "compressed"
    graphs: list[tuple[Graph, str]] = [("compressed", label)]
    if engines.compressed.graph.read_bytes() != baseline.graph.read_bytes():
        graphs.append(("original", "float32 original"))
    paths = {"compressed": engines.compressed.graph, "original": baseline.graph}
    return [Entry(graph, name, paths[graph], options) for graph, name in graphs for options in variants]


def _why_original_may_not_race(engines: Engines, baseline: Engine, policy: Policy) -> str | None:
    """Return why the original graph is no choice however fast it is, or None: where size was asked for, it counts."""
    if policy.max_size is not None and baseline.size() > policy.max_size:
        sizes = f"{format_bytes(baseline.size())}, the limit is {format_bytes(policy.max_size)}"
        return f"float32 original: it has {sizes}."
    if any(record.step == _SIZE_STEP for record in engines.model.history):
        return f"float32 original: the step `{_SIZE_STEP}` is there to save bytes, not time."
    return None


def _set_stage(arena: _Arena, default: Entry) -> Stage:
    """Return what every candidate meets; the original answers on the default provider."""
    checked = next(iter(arena.samples.batches(fixed_batch(arena.engines.original) or _CHECKED_SAMPLES)))
    truth = _answer(arena, Entry("original", "float32 original", arena.baseline.graph, default.options), checked.inputs)
    try:
        compressed_db = fidelity_db(truth, _answer(arena, default, checked.inputs), len(checked))
    except CompressError:
        # It gives what is not a number: whatever runs is better, and the measurement of accuracy says what is wrong.
        compressed_db = -inf
    return Stage(
        runtime=arena.runtime,
        original=arena.engines.original,
        feed=arena.feed,
        checked=checked,
        truth=truth,
        compressed_db=compressed_db,
        scratch=arena.baseline.folder,
        seed=arena.plan.options.seed,
    )


def _answer(arena: _Arena, entry: Entry, inputs: Feed) -> Outputs:
    session = arena.runtime.open_variant(entry.path, entry.options, arena.baseline.folder)
    with in_batches(session, arena.engines.original) as opened:
        return opened.run(inputs)


def _say_absent(absent: Absent) -> str:
    return f"{absent.what}: {absent.reason}."
