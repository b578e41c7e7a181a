import copy
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import distill_nets
import numpy as np
import pytest
import torch
from distill_nets import Net, run, samples, settings, weights
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from compress.distill.checkpoint import CheckpointStore
from compress.distill.guard import BatchTooLargeError, NonFiniteError, out_of_memory
from compress.distill.loop import ParameterGroup, choose_device
from compress.distill.losses import ErrorLoss, Loss
from compress.errors import CompressError, DataError, ModelError, TargetError, UsageError


def test_a_student_comes_nearer_to_its_teacher_on_samples_it_never_trained_on() -> None:
    result = run(Net(16, seed=1), of=settings(steps=200))
    assert result.before.sqnr_db is not None
    assert result.after.sqnr_db is not None
    assert result.after.sqnr_db > result.before.sqnr_db + 8
    assert (result.trained, result.before.samples, result.steps) == (58, 6, 200)
    assert result.stopped == "steps done"
    assert [step for step, _, _ in result.history] == list(range(20, 201, 20))


def test_held_out_samples_are_never_trained_on() -> None:
    seen: list[Tensor] = []

    class Watched(Net):
        def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
            if torch.is_grad_enabled():
                seen.append(feed["x"].detach().clone())
            return super().forward(feed)

    result = run(Watched(4, seed=1))
    unique = {row.numpy().tobytes() for batch in seen for row in batch}
    assert len(unique) == result.trained == 58


def test_equal_arguments_give_equal_bytes_and_another_seed_gives_others() -> None:
    students = [Net(12, seed=1, dropout=0.3) for _ in range(3)]
    for student, seed in zip(students, (3, 3, 4), strict=True):
        run(student, of=settings(batch_norm="train"), seed=seed)
    assert weights(students[0]) == weights(students[1]) != weights(students[2])


def test_the_best_weights_are_kept_and_a_student_never_gets_worse() -> None:
    student = Net(16, seed=1)
    before = weights(student)
    result = run(student, of=settings(steps=20, learning_rate=50.0, clip_norm=0, evaluate_every=5, ema_decay=0))
    assert result.best_step == 0
    assert result.after == result.before
    assert weights(student) == before


def test_training_leaves_random_generators_modes_and_the_teacher_as_they_were() -> None:
    student, teacher = Net(8, seed=1).train(), Net(16, seed=2).train()
    taught = weights(teacher)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    run(student, teacher)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected  # noqa: NPY002
    assert (student.training, teacher.training, weights(teacher)) == (True, True, taught)
    assert not torch.are_deterministic_algorithms_enabled()


def test_training_stops_early_where_nothing_improves() -> None:
    result = run(Net(16, seed=1), of=settings(steps=500, learning_rate=50.0, clip_norm=0, patience=2, evaluate_every=5))
    assert (result.stopped, result.steps) == ("no improvement", 10)


def test_a_time_budget_stops_cleanly_and_keeps_the_best() -> None:
    told: list[tuple[int, int]] = []
    result = run(
        Net(16, seed=1),
        of=settings(steps=10**6, time_budget_seconds=0.3),
        progress=lambda _, done, total: told.append((done, total)),
    )
    assert result.stopped == "time budget"
    assert result.seconds < 3
    assert result.best_step > 0
    assert told[-1] == (10**6, 10**6)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_epochs_count_full_batches_and_win_over_steps() -> None:
    assert run(Net(4, seed=1), of=settings(epochs=2, steps=999)).steps == 2 * (58 // 16)


def test_a_batch_larger_than_the_samples_is_lowered_and_said() -> None:
    result = run(Net(4, seed=1), of=settings(batch=1000, steps=3))
    assert result.batch == result.trained == 58


def test_selection_by_agreement_and_a_moving_average_of_nothing_are_possible() -> None:
    result = run(Net(16, seed=1), of=settings(select="agreement", ema_decay=0))
    assert result.after.agreement is not None
    assert result.before.agreement is not None
    assert result.after.agreement >= result.before.agreement


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_student_learns_what_an_eager_one_does() -> None:
    found = [run(Net(8, seed=1), of=settings(compile=compiles)).after.sqnr_db for compiles in (False, True)]
    torch.compiler.reset()
    assert found[0] == pytest.approx(found[1], abs=0.05)


@pytest.mark.filterwarnings("ignore")
def test_without_a_compiler_a_compiled_student_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise TorchDynamoException("InvalidCxxCompiler: no working C++ compiler\n\nmore")

    monkeypatch.setattr(torch, "compile", lambda _: fails)
    with pytest.raises(TargetError, match=r"the student: InvalidCxx.*C\+\+ compiler$") as e:
        run(Net(8, seed=1), of=settings(compile=True))
    assert "compile = true" in str(e.value.hint)


def test_bfloat16_trains_float32_weights_to_nearly_the_same_fidelity() -> None:
    student = Net(16, seed=1)
    result = run(student, of=settings(steps=150, precision="bfloat16"))
    full = run(Net(16, seed=1), of=settings(steps=150))
    assert {p.dtype for p in student.parameters()} == {torch.float32}
    assert result.after.sqnr_db is not None
    assert full.after.sqnr_db is not None
    assert result.after.sqnr_db == pytest.approx(full.after.sqnr_db, abs=1.0)  # measured: 0.02 dB apart


def test_samples_beyond_the_bound_are_read_in_windows_and_change_nothing() -> None:
    students = [Net(12, seed=1) for _ in range(2)]
    for student, bound in zip(students, (2**20, 20 * 8 * 4), strict=True):
        run(student, of=settings(cache_bytes=bound))
    assert weights(students[0]) == weights(students[1])


def test_a_teacher_cached_on_disk_is_asked_once_for_each_sample(tmp_path: Path) -> None:
    class Counting(Net):
        rows = 0

        def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
            self.rows += len(feed["x"])
            return super().forward(feed)

    teachers = [Counting(16, seed=2) for _ in range(3)]
    students = [Net(12, seed=1) for _ in range(3)]
    stores = (None, None, CheckpointStore(tmp_path / "s", "key"))
    for teacher, student, store, cached in zip(teachers, students, stores, (False, True, True), strict=True):
        run(student, teacher, settings(teacher_cache=cached), checkpoint=store)
    assert teachers[1].rows == teachers[2].rows == 64 + 2 * 6  # all once, the held-out ones twice more
    assert teachers[0].rows > 60 * 16
    assert weights(students[1]) == weights(students[2])
    # Rows of another batch are summed in another order: not the same bytes.
    ours, theirs = (np.frombuffer(weights(student), np.float32) for student in students[:2])
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_teacher_cached_on_disk_does_not_go_with_augmentation() -> None:
    with pytest.raises(UsageError, match="augmentation changes the samples at every step"):
        run(Net(4, seed=1), of=settings(teacher_cache=True), augmentation=lambda feed, _: feed)


def test_augmentation_changes_what_both_see() -> None:
    seen: list[Tensor] = []

    def double(feed: dict[str, Tensor], numbers: Tensor) -> dict[str, Tensor]:
        assert numbers.shape == (16, 8)
        seen.append(numbers)
        return {"x": 0 * feed["x"]}

    class Zero(Loss):
        def forward(
            self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], labels: Tensor | None
        ) -> dict[str, Tensor]:
            assert torch.equal(teacher["y"], teacher["y"][:1].expand_as(teacher["y"]))
            return {"e": (student["y"] - teacher["y"]).square().mean()}

    run(Net(4, seed=1), of=settings(steps=4), augmentation=double, loss=Zero())
    assert len({tuple(numbers[:, 0].tolist()) for numbers in seen}) == 4


def test_parameter_groups_have_their_own_learning_rate_and_decay() -> None:
    student = Net(8, seed=1)
    first, last = student.body[0], student.body[3]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    before = first.weight.detach().clone(), last.weight.detach().clone()
    groups = [ParameterGroup(list(first.parameters()), learning_rate_factor=0.0, weight_decay=0.0)]
    run(student, of=settings(ema_decay=0), groups=groups)
    assert torch.equal(first.weight, before[0])
    assert not torch.equal(last.weight, before[1])


def test_a_projection_after_each_step_holds_for_the_averaged_weights_too() -> None:
    def project(module: nn.Module) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_((parameter * 16).round() / 16)

    student = Net(16, seed=1)
    project(student)
    result = run(student, of=settings(steps=100, learning_rate=0.1), after_step=project)
    assert result.best_step > 0
    assert all(torch.equal(p * 16, (p * 16).round()) for p in student.parameters())


def test_batch_norm_statistics_change_only_when_asked() -> None:
    class Normed(Net):
        def __init__(self) -> None:
            super().__init__(8, seed=1)
            self.body.insert(1, nn.BatchNorm1d(8))

    means = []
    for mode in ("frozen", "train"):
        student = Normed()
        run(student, of=settings(batch_norm=mode))
        mean = student.body[1].running_mean
        assert isinstance(mean, Tensor)
        means.append(float(mean.abs().sum()))
    assert means[0] == 0
    assert means[1] > 0


def steps_written(progress: Path) -> int:
    """The number in `progress`; 0 while the other process is still writing it."""
    text = progress.read_text() if progress.exists() else ""
    return int(text) if text.isdigit() else 0


def test_a_killed_training_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    script = [sys.executable, distill_nets.__file__, "killed"]
    (cut / "slow").touch()
    with subprocess.Popen([*script, str(cut)]) as process:
        done = cut / "progress"
        deadline = time.monotonic() + 300
        while steps_written(done) < 45:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not (cut / "weights").exists()
    state = CheckpointStore(cut / "state", "k").load()
    assert state is not None
    assert 40 <= state["account"]["step"] < 90
    (cut / "slow").unlink()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        distill_nets.train_killed(cut)
        distill_nets.train_killed(whole)
    finally:
        torch.set_num_threads(threads)
    assert (cut / "weights").read_bytes() == (whole / "weights").read_bytes()


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path: Path) -> None:
    run(Net(8, seed=1), checkpoint=CheckpointStore(tmp_path, "one"))
    assert CheckpointStore(tmp_path, "other").load() is None
    finished = run(Net(8, seed=9), checkpoint=CheckpointStore(tmp_path, "one"))
    assert finished.steps == 60
    CheckpointStore(tmp_path, "one").clear()
    assert CheckpointStore(tmp_path, "one").load() is None


def test_a_damaged_checkpoint_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "training.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CompressError, match=r"training\.pt cannot be read") as raised:
        run(Net(8, seed=1), checkpoint=CheckpointStore(tmp_path, "k"))
    assert raised.value.hint == "remove it: training then starts from the beginning"


class Poisoned(Net):
    """Gives NaN behind its first layer from the 30th training step on."""

    calls = 0

    def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.calls += torch.is_grad_enabled()
        body = self.body
        hidden = body[1](body[0](feed["x"]))
        return {"y": body[3](body[2](hidden if self.calls < 30 else hidden / 0 * 0))}


def test_a_loss_that_is_not_finite_stops_with_batch_and_tensor_named_and_the_last_good_weights_kept() -> None:
    student, good = Poisoned(16, seed=1), Net(16, seed=1)
    with pytest.raises(NonFiniteError) as raised:
        run(student)
    message = raised.value.message
    assert re.match(r"training stopped at step 28 \(batch 1 of epoch 9, samples \d+(, \d+){7} and 8 more\)", message)
    assert "the first tensor that is not finite is the student's `body.2`" in message
    assert "the last good weights are those after step 20 (" in message
    assert raised.value.hint == "lower the learning rate (now 0.01), or look at those samples"
    assert raised.value.result is not None
    assert raised.value.result.best_step == 20
    stopped = run(good, of=settings(steps=60, patience=1, evaluate_every=20))
    assert stopped.history[0] == raised.value.result.history[0]
    assert all(bool(torch.isfinite(p).all()) for p in student.parameters())


@pytest.mark.parametrize("part", ["input", "teacher", "term", "gradient"])
def test_the_first_value_that_is_not_finite_is_named(part: str) -> None:
    class Sick(ErrorLoss):
        def forward(
            self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], labels: Tensor | None
        ) -> dict[str, Tensor]:
            terms: dict[str, Tensor] = super().forward(student, teacher, labels)
            if part == "term":
                return {**terms, "bad": terms["error of y"] * float("inf")}
            return {"e": terms["error of y"] + (0 * student["y"]).sqrt().sum()} if part == "gradient" else terms

    def teach(feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        answer: dict[str, Tensor] = Net(16, seed=2)(feed)
        return {"y": answer["y"] * float("nan")} if part == "teacher" and len(feed["x"]) == 16 else answer

    expected = {
        "input": "is input `x`",
        "teacher": "is the teacher's output `y`",
        "term": "is the loss term `bad`",
        "gradient": "is the gradient of `body.0.weight`",
    }[part]
    with pytest.raises(NonFiniteError, match=expected):
        run(
            Net(4, seed=1),
            teach,
            loss=Sick("y"),
            augmentation=(lambda feed, _: {"x": feed["x"] / 0}) if part == "input" else None,
        )


def test_weights_that_explode_between_two_steps_are_found_on_held_out_samples() -> None:
    def explode(module: nn.Module) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(float("inf"))

    student = Net(4, seed=1)
    before = weights(student)
    with pytest.raises(NonFiniteError, match="training stopped after step 1: the student's outputs are not finite"):
        run(student, of=settings(evaluate_every=1), after_step=explode)
    assert weights(student) == before


def test_outputs_that_are_not_finite_before_training_name_who_gives_them() -> None:
    bad = Net(4, seed=1)
    with torch.no_grad():
        next(bad.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="the student's outputs are not finite"):
        run(bad)
    with pytest.raises(ModelError, match="the teacher's output `y` is not finite"):
        run(Net(4, seed=1), bad)


class Hungry(Net):
    """Needs more memory than there is for a batch above ``limit`` samples when it trains."""

    limit = 5
    message: str | None = None

    def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if torch.is_grad_enabled() and len(feed["x"]) > self.limit:
            raise RuntimeError(self.message) if self.message else torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(feed)


def test_out_of_memory_says_which_batch_fits() -> None:
    with pytest.raises(BatchTooLargeError, match="a batch of 16 does not fit in memory; a batch of 4 fits") as raised:
        run(Hungry(4, seed=1))
    assert raised.value.hint == "set batch = 4"
    student = Hungry(4, seed=1)
    student.limit, student.message = 0, "[enforce fail] DefaultCPUAllocator: can't allocate memory"
    with pytest.raises(BatchTooLargeError, match="nor does one with a single sample"):
        run(student)
    student.message = "sizes do not match"
    with pytest.raises(RuntimeError, match="sizes do not match"):
        run(student)


def test_out_of_memory_in_the_teacher_or_before_training_is_the_users_to_mend() -> None:
    def teach(feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise MemoryError

    with pytest.raises(BatchTooLargeError, match="does not fit in memory"):
        run(Net(4, seed=1), teach)
    assert out_of_memory(8, None).hint == 'train on a machine with more memory, or with precision = "bfloat16"'


def test_different_outputs_are_refused_with_the_difference_shown() -> None:
    class Other(Net):
        def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {"z": super().forward(feed)["y"]}

    class Wide(Net):
        def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {"y": super().forward(feed)["y"].repeat(1, 2)}

    with pytest.raises(ModelError) as raised:
        run(Other(4, seed=1))
    assert raised.value.message == (
        "teacher and student have different outputs: `y` is [6, 5] in the teacher, absent in the student "
        "(the student has ['z'] beside)"
    )
    with pytest.raises(ModelError, match=r"`y` is \[6, 5\] in the teacher, \[6, 10\] in the student"):
        run(Wide(4, seed=1))


def test_too_few_samples_are_refused_in_words() -> None:
    with pytest.raises(DataError, match="has 7 samples: too few to train on, at least 8 are needed") as raised:
        run(Net(4, seed=1), samples=samples(7))
    assert raised.value.hint == "give more samples (unlabelled ones will do; hundreds are usual)"


def test_a_student_without_weights_is_refused() -> None:
    student = Net(4, seed=1)
    for parameter in student.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ModelError, match="no weights that can be trained"):
        run(student)


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(settings(device="auto")).type == "cpu"
    with pytest.raises(UsageError, match="PyTorch finds no GPU here"):
        run(Net(4, seed=1), of=settings(device="cuda"))


def test_a_student_that_gets_worse_than_it_began_goes_back_and_learns_more_slowly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    teacher = Net(16, seed=2)
    near = Net(16, seed=2)
    with torch.no_grad():
        for parameter in near.parameters():
            parameter.add_(1e-3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    hasty = settings(steps=200, learning_rate=0.3, evaluate_every=10)
    stuck = run(copy.deepcopy(near), teacher, of=hasty)
    with caplog.at_level("INFO", "compress"):
        found = run(near, teacher, of=hasty.model_copy(update={"retreat": 0.1}))
    assert "back to step 0 at 0.1 of the rate" in caplog.text
    assert stuck.best_step == 0
    assert found.best_step > 0
    assert found.after.rank("sqnr") > found.before.rank("sqnr")


def test_a_retreat_is_taken_up_from_a_checkpoint(tmp_path: Path) -> None:
    hasty = settings(steps=60, learning_rate=0.3, evaluate_every=10, checkpoint_every=20, retreat=0.1)
    near = Net(16, seed=2)
    whole, cut = copy.deepcopy(near), copy.deepcopy(near)
    run(whole, Net(16, seed=2), of=hasty)

    def stop(_: str, done: int, __: int) -> None:
        if done >= 45:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(cut, Net(16, seed=2), of=hasty, checkpoint=CheckpointStore(tmp_path, "k"), progress=stop)
    again = copy.deepcopy(near)
    run(again, Net(16, seed=2), of=hasty, checkpoint=CheckpointStore(tmp_path, "k"))
    assert weights(again) == weights(whole)
