"""`vlm2vla relabel`: label recorded trajectories, by rules or by a model on a server."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from vlm2vla_sim.cli.dataset_flags import DatasetFlags
from vlm2vla_sim.cli.flags import PlaceFlags
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.data.datasets.base import TrajectoryDataset
from vlm2vla_sim.data.datasets.open import open_dataset
from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.relabel.labeler import Labeler, LabelerSettings
from vlm2vla_sim.data.relabel.labeling_cost import Estimate, Prices, estimate
from vlm2vla_sim.data.relabel.labels import LABELS, SKIPPED, LabelSettings, LabelSummary, names_in
from vlm2vla_sim.data.relabel.path import RowThresholds
from vlm2vla_sim.data.relabel.recorded import MotionRules
from vlm2vla_sim.data.relabel.rules import LabelingRules
from vlm2vla_sim.data.relabel.rules import relabel as relabel_by_rules
from vlm2vla_sim.data.relabel.run import label_dataset
from vlm2vla_sim.errors import AnswerError, RunFolderError, SettingError
from vlm2vla_sim.evaluation.executors.base import Executor
from vlm2vla_sim.evaluation.executors.threads import ThreadExecutor
from vlm2vla_sim.language.formats.grid import Resolution

REASONS = 10
"""How many reasons for skipping are printed."""


@dataclass(frozen=True)
class RuleFlags:
    """How motion is divided into rows and rounded."""

    motion: str = "reached"
    """"reached" for the measured motion, or "commanded" for the sum of the actions."""
    axis_cm: float = 2.5
    """[cm] A row ends when the gripper has moved this far along one axis without reversing,"""
    total_cm: float = 5.0
    """[cm] or this far in a straight line,"""
    turn_degrees: float = 15.0
    """[degrees] or has turned this far."""
    straight_cm: float = 0.5
    """[cm] Rows are merged, and divided at corners, so that each stays within this distance of the path; 0 leaves the
    rows of the thresholds above, the paper's."""
    resolution: Annotated[tuple[float, float], tyro.conf.arg(metavar="CM DEGREES")] = (1.0, 5.0)
    """Resolution of the action text."""
    round_by_phase: bool = False
    """Round every phase separately, instead of carrying the rounding error into the next phase."""
    leave_out_pauses: bool = False
    """Make no phase of a second or more of standing still; only for labels by rules."""

    def rules(self) -> LabelingRules:
        """The same values for `data.relabel`."""
        return LabelingRules(
            motion=self.motion,
            carry_rest=not self.round_by_phase,
            cuts=RowThresholds(self.axis_cm, self.total_cm, self.turn_degrees, self.straight_cm),
            kinds=MotionRules(leave_out_pauses=self.leave_out_pauses),
            resolution=Resolution(self.resolution[0] / 100, self.resolution[1]),
        )


@dataclass(frozen=True)
class ModelFlags:
    """A model on an OpenAI-compatible server that labels. Without --model, rules label."""

    model: str = ""
    """Name of the model on the server."""
    server: str = "http://127.0.0.1:8000/v1"
    """Address of the server. The API key is read from the environment variable VLM2VLA_API_KEY."""
    pictures: int = 6
    """Most images per trajectory: first and last frame, gripper changes, turns. States and actions are always sent
    completely."""
    retries: int = 1
    """How often an answer that contradicts the motion is sent back with the reasons."""
    temperature: float = 0.2
    """Sampling temperature."""
    price_read: float = 0.0
    """Price of a million input tokens, in any currency."""
    price_written: float = 0.0
    """Price of a million output tokens, in the same currency."""
    budget: float = 0.0
    """Do not start if the estimated cost is higher; 0 for no limit."""
    estimate: bool = False
    """Only print the estimated requests, tokens and cost; nothing is sent."""

    def check(self) -> None:
        """SettingError if an option of a model was given without a model."""
        for field in dataclasses.fields(self):
            if not self.model and getattr(self, field.name) != field.default:
                flag = field.name.replace("_", "-")
                raise SettingError(f"--{flag} was given without --model; rules do not use it. Add --model NAME.")


@dataclass(frozen=True)
class ModelOptions(LabelingRules):
    """The options that determine a model's labels: the rules, and how the model is queried."""

    model: str = ""
    pictures: int = 6
    retries: int = 1
    temperature: float = 0.2


def relabel(
    data: Annotated[Path, tyro.conf.Positional],
    source: DatasetFlags,
    rule: RuleFlags,
    model: ModelFlags,
    where: PlaceFlags,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    limit: int = 0,
    resume: bool = False,
    workers: int = 2,
    no_check: bool = False,
    json: bool = False,
) -> CommandResult:
    """Label the trajectories of a data set with subtasks, and for each phase a plan and an action.

    The labels go to labels.jsonl in the folder --out; the data set is only read. Trajectories that cannot be used are
    skipped, counted, and listed in skipped.jsonl with the reason. `vlm2vla inspect` shows the labels.

    Args:
        data: The data set: LeRobot v2 or v3, raw BridgeData V2, or RLDS.
        source: How to read the data set.
        rule: How motion is divided into rows.
        model: A model that finds the phases; rules by default.
        where: Where rules label and images are checked; a label set may be resumed with another executor.
        out: Folder for the labels.
        limit: Maximum number of trajectories; 0 for all.
        resume: Continue an interrupted run in --out.
        workers: Trajectories at the same time: processes, or with --model requests in flight.
        no_check: Do not decode the images to check that they can be read.
        json: Print one line of JSON.
    """
    if workers < 1 or limit < 0:
        raise SettingError(f"workers is {workers} and limit {limit}; expected at least 1 and 0.")
    model.check()
    if model.model and rule.leave_out_pauses:
        raise SettingError("--leave-out-pauses was given with --model, which finds the phases itself. Leave it out.")
    executor = _executor(where, model)
    dataset, rules = open_dataset(data, source.options()), rule.rules()
    check_path(out, RunFolderError, beside=".answers")
    if model.estimate:
        cost = _cost(dataset, model, out, limit, resume=resume)
        return CommandResult(str(cost), dataclasses.asdict(cost), json)
    label, used = _labeler(dataset, rules, model, out, limit, resume=resume)
    settings = LabelSettings(str(data.absolute()), source.options(), model.model or "rules", used, limit)
    total = min(len(dataset), limit) if limit else len(dataset)
    with tqdm(total=total, unit="trajectory", disable=None, file=sys.stderr) as bar, closing(executor):
        summary = label_dataset(
            dataset,
            label,
            settings,
            out,
            resume=resume,
            workers=workers,
            check=not no_check,
            executor=executor,
            on_done=lambda _: _advance(bar),
        )
    text = _report(summary, out, by_rules=not model.model)
    values = {"folder": str(out), **dataclasses.asdict(summary)}
    if isinstance(label, Labeler):
        values["unused_answers"] = dict(label.unused)
        if label.unused:
            counts = ", ".join(f"{count} {why}" for why, count in label.unused.items())
            text += f"\nAnswers of the model that were not used: {counts}."
    return CommandResult(text, values, json)


def _advance(bar: tqdm) -> None:
    bar.update()


def _executor(where: PlaceFlags, model: ModelFlags) -> Executor:
    executor = where.make()
    if not model.model:
        return executor
    if executor.isolates:
        raise SettingError(
            f"--executor {where.executor} was given with --model: a model labels on its server, and this process sends "
            "the requests, --workers of them at a time. Leave the executor out."
        )
    return ThreadExecutor()


def _cost(dataset: TrajectoryDataset, flags: ModelFlags, out: Path, limit: int, *, resume: bool) -> Estimate:
    """The estimated cost of what is not labelled yet."""
    prices = Prices(flags.price_read, flags.price_written)
    done = len(names_in(out)) if resume else 0
    return estimate(dataset, prices, pictures=flags.pictures, retries=flags.retries, limit=limit, done=done)


def _labeler(
    dataset: TrajectoryDataset, rules: LabelingRules, flags: ModelFlags, out: Path, limit: int, *, resume: bool
) -> tuple[Callable[[Trajectory], LabelledTrajectory], LabelingRules]:
    """The function that labels a trajectory, and the options that determine its labels."""
    if not flags.model:
        return functools.partial(relabel_by_rules, rules=rules), rules
    settings = LabelerSettings(flags.model, flags.pictures, flags.retries, flags.temperature)
    cost = _cost(dataset, flags, out, limit, resume=resume)
    tqdm.write(str(cost), file=sys.stderr)
    if flags.budget and cost.cost > flags.budget:
        raise SettingError(f"{cost}. This is more than the budget of {flags.budget:g}; nothing was sent.")
    labeler = Labeler(_ask_model(flags), settings, rules, out.with_name(f"{out.name}.answers"))
    return labeler, ModelOptions(**vars(rules), **vars(settings))


def _ask_model(flags: ModelFlags) -> Callable[[str, Sequence[np.ndarray]], str]:
    from vlm2vla_sim.policies.base import Question, Sampling, mark_cut_off
    from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings

    chat = ChatModel(ServerSettings(url=flags.server, model=flags.model, constraint="off"))
    sampling = Sampling(temperature=flags.temperature, max_tokens=4096)

    def ask(prompt: str, images: Sequence[np.ndarray]) -> str:
        (stage,) = chat.answer([Question("label", prompt, tuple(images), sampling=sampling)])
        stage = mark_cut_off(stage, sampling.max_tokens)
        if stage.error:
            raise AnswerError(stage.error)
        return stage.text

    return ask


def _report(summary: LabelSummary, out: Path, *, by_rules: bool) -> str:
    phases = summary.phases / summary.labelled if summary.labelled else 0
    lines = [
        f"{summary.labelled} trajectories labelled: {summary.phases} phases ({phases:.1f} each), {summary.rows} rows, "
        f"distinct subtasks: {summary.subtasks}. Skipped: {summary.skipped}.",
        *(f"  {count:5d}  {reason}" for reason, count in list(summary.reasons.items())[:REASONS]),
    ]
    if more := list(summary.reasons.values())[REASONS:]:
        lines.append(f"  {sum(more):5d}  for {len(more)} other reasons, see {out / SKIPPED}.")
    if summary.failed:
        lines.append(
            f"Failed demonstrations: {summary.failed}. `vlm2vla train` uses them for the verifier only, and like the "
            "others with --include-failures."
        )
    if summary.unnamed and by_rules:
        lines.append(
            f"Instructions that do not name an object: {summary.unnamed}. Their subtasks are the instruction itself."
        )
    if summary.agreement is not None:
        lines.append(f"Agreement with the rules: {100 * summary.agreement:.0f} % on average. The least:")
        lines += [f"  {100 * score:3.0f} %  {name}" for name, score in summary.least_agreement] or ["  none differs."]
    lines += [
        f"Labels  {out / LABELS}",
    ]
    return "\n".join(lines)
