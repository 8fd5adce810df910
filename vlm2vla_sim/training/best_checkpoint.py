"""Which checkpoint has the lowest loss on the rows held out, its weights, and when to stop waiting for a lower one.

The weights of a checkpoint that may become the result are kept until a complete checkpoint has later ones. A training
that is killed in between goes on from where both are known.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.training.held_out import LossByKind
from vlm2vla_sim.training.progress import TrainingLog

BEST = "best-"
"""Prefix of the folder with the weights of the best checkpoint; its number of steps follows."""


@dataclass(frozen=True)
class HeldOutLoss:
    """Losses at a checkpoint, in nats per token of the completions."""

    step: int
    loss: float
    """On all rows that are held out."""
    by_stage: dict[str, float]
    """Kind of row -> loss on the rows held out."""
    train_loss: float
    """On the first rows that are trained on."""


@dataclass
class BestCheckpoint:
    """Keeps the weights of the checkpoint with the lowest loss in the folder `work`."""

    work: Path
    patience: int
    """Checkpoints without a lower loss after which to stop; 0 for never."""
    measured: list[HeldOutLoss] = field(default_factory=list)

    def resume(self, lines: Iterable[dict[str, Any]], *, main: bool) -> None:
        """Continue after the steps in `lines`, as `TrainingLog` wrote them; RunFolderError if the weights are gone.

        main: whether this is the main process, which removes weights of later steps.
        """
        self.measured = [HeldOutLoss(line["step"], **line["held_out"]) for line in lines if "held_out" in line]
        best = self.best
        if best is not None and not self.folder(best.step).is_dir():
            raise RunFolderError(
                f"{self.work} lacks {self.folder(best.step).name}, the weights with the lowest loss so far. Remove the "
                "folder and train again."
            )
        if main:
            self.tidy()

    @property
    def best(self) -> HeldOutLoss | None:
        """The first of the checkpoints with the lowest loss; None before the first."""
        known = [one for one in self.measured if not math.isnan(one.loss)]
        return min(known or self.measured, key=lambda one: one.loss, default=None)

    @property
    def exhausted(self) -> bool:
        """Whether the loss has not become lower for so many checkpoints that training stops."""
        best = self.best
        waited = 0 if best is None else len(self.measured) - 1 - self.measured.index(best)
        return 0 < self.patience <= waited

    def folder(self, step: int) -> Path:
        """The weights after `step` steps."""
        return self.work / f"{BEST}{step}"

    def tidy(self) -> None:
        """Remove the weights of all checkpoints but the best."""
        best = self.best
        for path in self.work.glob(f"{BEST}*"):
            if best is None or path != self.folder(best.step):
                shutil.rmtree(path)

    def callback(self, trainer: Any, log: TrainingLog, held_out: LossByKind, training: LossByKind) -> Any:
        """The trainer's callback: measures before each checkpoint is saved."""
        from transformers import TrainerCallback

        keeper = self

        class Measuring(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if control.should_save:
                    loss, by_stage = held_out.measure()
                    one = HeldOutLoss(state.global_step, loss, by_stage, training.measure()[0])
                    keeper.measured.append(one)
                    log.measured(one.loss, one.by_stage, one.train_loss)
                    if keeper.best is one:
                        keeper._save(trainer, one.step)
                    if keeper.exhausted:
                        control.should_training_stop = True

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if trainer.accelerator.is_main_process:
                    keeper.tidy()

        return Measuring()

    def _save(self, trainer: Any, step: int) -> None:
        """Write the weights; every process takes part if they are sharded."""
        draft = self.work / f"draft-{step}"
        trainer.save_model(str(draft))
        trainer.accelerator.wait_for_everyone()
        if trainer.accelerator.is_main_process:
            if self.folder(step).exists():
                shutil.rmtree(self.folder(step))
            draft.replace(self.folder(step))
