"""`vlm2vla relabel`: recorded motion in words, by rules or by a model on a server."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from vlm2vla_sim.cli.dataset_flags import DatasetFlags
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.data.datasets.base import TrajectoryDataset
from vlm2vla_sim.data.datasets.open import open_dataset
from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.relabel.labeler import Labeler, LabelerSettings, Prices, estimate
from vlm2vla_sim.data.relabel.labels import LabelSettings, LabelSummary
from vlm2vla_sim.data.relabel.path import RowThresholds
from vlm2vla_sim.data.relabel.rules import LabelingRules
from vlm2vla_sim.data.relabel.rules import relabel as relabel_by_rules
from vlm2vla_sim.data.relabel.run import label_dataset
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats.grid import Resolution


@dataclass(frozen=True)
class RuleFlags:
    """When small moves become a row, and how finely it is written."""

    motion: str = "reached"
    """"reached", where the gripper was measured, or "commanded", what it was told."""
    axis_cm: float = 2.5
    """A row is made when the gripper has gone this far along one axis without turning back,"""
    total_cm: float = 5.0
    """or this far in a straight line,"""
    turn_degrees: float = 15.0
    """or has turned this far."""
    straight_cm: float = 1.0
    """Rows are put together while the path stays within this of a straight line; 0: never."""
    resolution: Annotated[tuple[float, float], tyro.conf.arg(metavar="CM DEGREES")] = (1.0, 5.0)
    """What numbers are rounded to."""
    round_by_phase: bool = False
    """Round every phase by itself, instead of saying in the next what rounding left over in the last."""

    def rules(self) -> LabelingRules:
        """The same, for `data.relabel`."""
        return LabelingRules(
            motion=self.motion,
            carry_rest=not self.round_by_phase,
            cuts=RowThresholds(self.axis_cm, self.total_cm, self.turn_degrees, self.straight_cm),
            resolution=Resolution(self.resolution[0] / 100, self.resolution[1]),
        )


@dataclass(frozen=True)
class ModelFlags:
    """A model on an OpenAI-style server that labels; without --model rules do."""

    model: str = ""
    """Its name on the server."""
    server: str = "http://127.0.0.1:8000/v1"
    """The server's address. An API key is read from the environment variable VLM2VLA_API_KEY."""
    pictures: int = 6
    """Of a trajectory; the log of numbers is always whole."""
    retries: int = 2
    """How often it is asked again for phases that do not add up."""
    temperature: float = 0.2
    """Of its answers."""
    price_read: float = 0.0
    """For a million tokens read,"""
    price_written: float = 0.0
    """and written, in any currency."""
    budget: float = 0.0
    """Refuse to begin when it is estimated to cost more; 0: no limit."""


@dataclass(frozen=True)
class ModelOptions(LabelingRules):
    """What decides a model's labels: the rules, and how the model is asked."""

    model: str = ""
    pictures: int = 6
    retries: int = 2
    temperature: float = 0.2


def relabel(
    data: Annotated[Path, tyro.conf.Positional],
    source: DatasetFlags,
    rule: RuleFlags,
    model: ModelFlags,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    limit: int = 0,
    resume: bool = False,
    workers: int = 2,
    no_check: bool = False,
    json: bool = False,
) -> CommandResult:
    """Put a data set's trajectories into words: subtasks, and for each phase a plan and an action.

    The words go to labels.jsonl in the folder --out; the data set is only read. Trajectories that cannot be used are
    passed over, counted, and listed in skipped.jsonl with the reason. Look at the words with `vlm2vla inspect`.

    Args:
        data: The data set: LeRobot v3, BridgeData V2 as it was collected, or RLDS.
        source: How it is read.
        rule: How motion becomes rows.
        model: Who says where phases begin and what they are; rules by default.
        out: Folder for the words.
        limit: Trajectories at most; 0 for all.
        resume: Go on in --out; what is done is not done again.
        workers: Trajectories worked on at the same time.
        no_check: Do not decode the pictures to see whether they can be read.
        json: Print one line of JSON.
    """
    if workers < 1 or limit < 0:
        raise SettingError(f"workers is {workers} and limit {limit}; expected at least 1 and 0.")
    opened, rules = open_dataset(data, source.options()), rule.rules()
    label, used = _labeler(opened, rules, model, out, limit)
    settings = LabelSettings(str(data.absolute()), source.options(), model.model or "rules", used, limit)
    total = min(len(opened), limit) if limit else len(opened)
    with tqdm(total=total, unit="trajectory", disable=None, file=sys.stderr) as bar:
        summary = label_dataset(
            opened,
            label,
            settings,
            out,
            resume=resume,
            workers=workers,
            check=not no_check,
            on_done=lambda _: _advance(bar),
        )
    return CommandResult(_report(summary, out), {"folder": str(out), **dataclasses.asdict(summary)}, json)


def _advance(bar: tqdm) -> None:
    bar.update()


def _labeler(
    source: TrajectoryDataset, rules: LabelingRules, flags: ModelFlags, out: Path, limit: int
) -> tuple[Callable[[Trajectory], LabelledTrajectory], LabelingRules]:
    """The function that labels a trajectory, and the options that decide its labels."""
    if not flags.model:
        return (lambda trajectory: relabel_by_rules(trajectory, rules)), rules
    settings = LabelerSettings(flags.model, flags.pictures, flags.retries)
    cost = estimate(source, settings, Prices(flags.price_read, flags.price_written), limit=limit)
    tqdm.write(str(cost), file=sys.stderr)
    if flags.budget and cost.cost > flags.budget:
        raise SettingError(f"{cost}. That is more than the budget of {flags.budget:g}; nothing was sent.")
    labeler = Labeler(_ask(flags), settings, rules, out.with_name(f"{out.name}.answers"))
    return labeler, ModelOptions(**vars(rules), **vars(settings), temperature=flags.temperature)


def _ask(flags: ModelFlags) -> Callable[[str, Sequence[np.ndarray]], str]:
    from vlm2vla_sim.policies.base import Question, Sampling
    from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings

    chat = ChatModel(ServerSettings(url=flags.server, model=flags.model, constraint="off"))
    sampling = Sampling(temperature=flags.temperature, max_tokens=4096)

    def ask(prompt: str, pictures: Sequence[np.ndarray]) -> str:
        return chat.answer([Question("label", prompt, tuple(pictures), sampling=sampling)])[0].text

    return ask


def _report(summary: LabelSummary, out: Path) -> str:
    phases = summary.phases / summary.labelled if summary.labelled else 0
    lines = [
        f"{summary.labelled} trajectories in words: {summary.phases} phases ({phases:.1f} each), {summary.rows} rows, "
        f"{summary.subtasks} different subtasks. {summary.skipped} passed over.",
        *(f"  {count:5d}  {reason}" for reason, count in list(summary.reasons.items())[:10]),
        f"Words  {out / 'labels.jsonl'}",
    ]
    return "\n".join(lines)
