"""One training under way: its state, its steps, and what is kept of it."""

import logging
import math
import time
from typing import cast

import numpy as np
import torch
from torch import Tensor

from compress.distill.account import Account
from compress.distill.augment import draw_numbers
from compress.distill.batches import Picked
from compress.distill.checkpoint import State, random_state, set_random_state
from compress.distill.compiled import compiler_problem
from compress.distill.guard import (
    Attempt,
    BatchTooLargeError,
    NonFiniteError,
    describe_batch,
    is_out_of_memory,
    largest_that_fits,
    name_first_not_finite,
    out_of_memory,
)
from compress.distill.optimizer import check_gradients, learned_parameters, set_learning_rate
from compress.distill.result import Stopped, TrainingResult
from compress.distill.task import Equipment, Task
from compress.distill.tensors import Tensors, first_rows, to_tensor, to_tensors, widen, with_channels_last
from compress.distill.weights import MovingAverage, Weights, copy_weights, set_weights
from compress.errors import ModelError

log = logging.getLogger("compress")


class Session:
    """Trains, from the start or from a checkpoint."""

    def __init__(self, task: Task, tools: Equipment) -> None:
        """Measure the student as it is, or take up the checkpoint.

        Raises:
            BatchTooLargeError: A step does not fit.
        """
        self.task, self.tools = task, tools
        self._started = time.monotonic()
        self._average = MovingAverage(task.settings.ema_decay, copy_weights(task.student))
        self._best: Weights = copy_weights(task.student)
        state = task.checkpoint.load() if task.checkpoint else None
        if state is None:
            self._rehearse()
            before = tools.held_out.measure(task.student)
            self.account = Account(before, before)
        else:
            self.account = self._take_up(state)

    def run(self) -> TrainingResult:
        """Return the result after the last step; the student then holds the best weights.

        Raises:
            NonFiniteError: A loss or a gradient is not finite.
            BatchTooLargeError: The batch does not fit.
        """
        task, tools, account = self.task, self.tools, self.account
        stopped = self._reason_to_stop()
        while stopped is None:
            self._step()
            account.step += 1
            account.seconds = self._elapsed()
            stopped = self._reason_to_stop()
            if account.step % task.settings.evaluate_every == 0 or stopped is not None:
                self._look()
                stopped = stopped or self._reason_to_stop()
            if account.step % task.settings.checkpoint_every == 0 or stopped is not None:
                self._save()
            task.progress("train", self._done(), tools.steps)
        task.progress("train", tools.steps, tools.steps)
        set_weights(task.student, self._best)
        return self._result(stopped)

    def _rehearse(self) -> None:
        """Compute one batch without learning from it: a batch that is too large should be found out at once."""
        random = random_state()
        picked, feed, labels = self._load(0)
        self._try(picked, feed, labels)
        self.tools.optimizer.zero_grad(set_to_none=True)
        set_weights(self.task.student, self._best)
        set_random_state(random)

    def _load(self, step: int) -> tuple[Picked, Tensors, Tensor | None]:
        """Return the samples of a step, the inputs made of them, and their labels."""
        task, tools = self.task, self.tools
        picked = tools.batches.at(step)
        feed = to_tensors(picked.inputs, tools.device)
        if task.augmentation is not None:
            place = (tools.processes.rank, tools.processes.count)
            feed = task.augmentation(feed, draw_numbers(task.seed, step, tools.batch, place))
        feed = with_channels_last(feed) if task.channels_last else feed
        wanted = task.loss.needs_labels and picked.labels is not None
        labels = to_tensor(np.asarray(picked.labels)).to(tools.device) if wanted else None
        return picked, feed, labels

    def _try(self, picked: Picked, feed: Tensors, labels: Tensor | None) -> Attempt:
        try:
            return self._descend(picked, feed, labels)
        except (RuntimeError, MemoryError) as error:
            if (problem := compiler_problem(error)) is not None:
                raise problem from error
            if not is_out_of_memory(error):
                raise
            raise self._explain_memory(picked, feed, labels) from error

    def _step(self) -> None:
        task, tools = self.task, self.tools
        picked, feed, labels = self._load(self.account.step)
        attempt = self._try(picked, feed, labels)
        total = sum(float(term.detach()) for term in attempt.terms.values())
        mean = tools.processes.total(torch.tensor(total, dtype=torch.float64, device=tools.device))
        learned = learned_parameters(tools.optimizer)
        tools.processes.average_gradients(learned)
        norm = check_gradients(learned, task.settings.clip_norm)
        if not (math.isfinite(float(mean)) and math.isfinite(norm)):
            raise self._explain_not_finite(picked, attempt)
        set_learning_rate(tools.optimizer, self._share(0.5), task.settings, self.account.rate)
        tools.optimizer.step()
        if task.after_step is not None:
            task.after_step(task.student)
        self._average.update(task.student, self.account.step)
        self.account.loss_sum += float(mean) / tools.processes.count
        self.account.loss_steps += 1

    def _descend(self, picked: Picked, feed: Tensors, labels: Tensor | None) -> Attempt:
        """Compute the loss of a batch and its gradients."""
        task, tools = self.task, self.tools
        targets = tools.targets(picked, feed)
        task.student.train(task.settings.batch_norm != "frozen")
        tools.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(tools.device.type, torch.bfloat16, enabled=task.settings.precision == "bfloat16"):
            outputs = tools.forward(feed)
        terms = cast("dict[str, Tensor]", task.loss(widen(outputs), targets, labels))
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        return Attempt(feed, targets, outputs, terms)

    def _look(self) -> None:
        """Measure the averaged weights on the held-out samples and keep them where they are the best so far."""
        task, tools, account = self.task, self.tools, self.account
        current = copy_weights(task.student)
        set_weights(task.student, self._average.weights)
        if task.after_step is not None:
            task.after_step(task.student)
        try:
            found = tools.held_out.measure(task.student)
        except ModelError as error:
            set_weights(task.student, self._best)
            raise self._diverged(f"training stopped after step {account.step}: {error.message}") from error
        account.stale += 1
        if found.rank(task.settings.select) > account.best.rank(task.settings.select):
            account.best, account.best_step, account.stale = found, account.step, 0
            self._best = copy_weights(task.student)
        worse = found.rank(task.settings.select) < account.before.rank(task.settings.select)
        if task.settings.retreat and worse:
            self._retreat()
        else:
            set_weights(task.student, current)
        loss = account.loss_sum / max(1, account.loss_steps)
        account.history.append((account.step, loss, found))
        account.loss_sum, account.loss_steps = 0.0, 0
        left = account.seconds * (tools.steps - account.step) / account.step
        log.info("train: step %d of %d, loss %.4g, %s, %.0f s left", account.step, tools.steps, loss, found, left)

    def _retreat(self) -> None:
        """Go back to the best weights and forget the momentum: the steps were too long."""
        account = self.account
        account.rate *= self.task.settings.retreat
        set_weights(self.task.student, self._best)
        self._average.weights = copy_weights(self.task.student)
        self.tools.optimizer.state.clear()
        log.info(
            "train: worse than before training: back to step %d at %.2g of the rate", account.best_step, account.rate
        )

    def _reason_to_stop(self) -> Stopped | None:
        account, settings = self.account, self.task.settings
        if account.step >= self.tools.steps:
            return "steps done"
        if settings.patience and account.stale >= settings.patience:
            return "no improvement"
        if settings.time_budget_seconds and account.seconds >= settings.time_budget_seconds:
            return "time budget"
        return None

    def _share(self, begun: float = 0.0) -> float:
        """Return how much of the training is done, by steps (with one begun) or by time, whichever runs out first."""
        budget = self.task.settings.time_budget_seconds
        by_time = self.account.seconds / budget if budget else 0.0
        return min(1.0, max((self.account.step + begun) / self.tools.steps, by_time))

    def _done(self) -> int:
        return round(self._share() * self.tools.steps)

    def _elapsed(self) -> float:
        own = self._before_this + time.monotonic() - self._started
        return self.tools.processes.as_first(own, self.tools.device)

    _before_this = 0.0

    def _take_up(self, state: State) -> Account:
        task, tools = self.task, self.tools
        device = tools.device
        set_weights(task.student, state["weights"])
        task.loss.load_state_dict(state["loss"])
        tools.optimizer.load_state_dict(state["optimizer"])
        self._average.weights = {name: tensor.to(device) for name, tensor in state["average"].items()}
        self._best = {name: tensor.to(device) for name, tensor in state["best_weights"].items()}
        account = Account.from_state(state["account"])
        self._before_this = account.seconds
        set_random_state(state["random"][tools.processes.rank])
        log.info("train: taken up after step %d of %d", account.step, tools.steps)
        return account

    def _save(self) -> None:
        task, tools = self.task, self.tools
        if task.checkpoint is None:
            return
        random = tools.processes.gather(random_state())
        if tools.processes.rank == 0:
            task.checkpoint.save(
                {
                    "account": self.account.to_state(),
                    "weights": copy_weights(task.student),
                    "average": self._average.weights,
                    "best_weights": self._best,
                    "loss": task.loss.state_dict(),
                    "optimizer": tools.optimizer.state_dict(),
                    "random": random,
                }
            )

    def _result(self, stopped: Stopped) -> TrainingResult:
        account, tools = self.account, self.tools
        return TrainingResult(
            steps=account.step,
            seconds=account.seconds,
            best_step=account.best_step,
            before=account.before,
            after=account.best,
            stopped=stopped,
            batch=tools.batch,
            trained=tools.trained,
            history=tuple(account.history),
        )

    def _explain_not_finite(self, picked: Picked, attempt: Attempt) -> NonFiniteError:
        task, tools = self.task, self.tools
        culprit = name_first_not_finite(task.student, attempt, task.trace)
        where = describe_batch(self.account.step, tools.batches.per_epoch, picked.positions)
        set_weights(task.student, self._best)
        return self._diverged(f"training stopped at {where}: the first tensor that is not finite is {culprit}")

    def _diverged(self, what: str) -> NonFiniteError:
        account, rate = self.account, self.task.settings.learning_rate
        return NonFiniteError(
            f"{what}; the last good weights are those after step {account.best_step} ({account.best})",
            hint=f"lower the learning rate (now {rate:g}), or look at those samples",
            result=self._result("not finite"),
        )

    def _explain_memory(self, picked: Picked, feed: Tensors, labels: Tensor | None) -> BatchTooLargeError:
        def attempt(count: int) -> None:
            some = Picked(picked.positions[:count], picked.inputs, None)
            self._descend(some, first_rows(feed, count), None if labels is None else labels[:count])

        task, tools = self.task, self.tools
        tools.optimizer.zero_grad(set_to_none=True)
        fits = largest_that_fits(attempt, len(picked.positions))
        tools.optimizer.zero_grad(set_to_none=True)
        set_weights(task.student, self._best)
        return out_of_memory(tools.batch, fits and fits * tools.processes.count)
