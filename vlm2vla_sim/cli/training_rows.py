"""Training rows on the command line: the flags that say how they are made of a label set, and making them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.folder_kind import LABELS, folder_kind, wrong_folder
from vlm2vla_sim.core.folder_kind import ROWS as TRAINING_ROWS
from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.examples.folder import RowSummary, write_examples
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import ActionStatistics, get_format
from vlm2vla_sim.training.row_settings import RowSettings


@dataclass(frozen=True)
class RowFlags:
    """How rows are made of a label set. A folder of rows has these settings already; others are refused."""

    format: str | None = None
    """Action format, vlm2vla by default; "tokens" (VLM2VLA-AT) uses the ten least likely tokens of the model."""
    reasoning: bool = True
    """With --no-reasoning, the model maps the instruction directly to the action (VLM2VLA-NR)."""
    languages: tuple[str, ...] | None = None
    """Languages of the instruction, of en, es, zh, hi; "en" alone, the default, leaves each as it was recorded."""
    state: bool = False
    """Include the gripper's state in the prompt, for a policy with the option state=true."""
    include_failures: bool = False
    """Also learn subtasks, plans and actions from failed demonstrations, which otherwise serve the verifier only."""

    def given(self) -> dict[str, Any]:
        """The settings that were given on the command line."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def check_data(data: Path) -> None:
    """SettingError if `data` is neither a label set nor a folder of training rows."""
    if not data.is_dir() or folder_kind(data) not in (LABELS, TRAINING_ROWS, None):
        raise SettingError(wrong_folder(data, "a label set of `vlm2vla relabel`, or a folder of training rows"))


def make_rows(data: Path, rows: Path, settings: RowSettings) -> RowSummary:
    """Write the rows of the label set `data` to the folder `rows`, with the settings they were made with."""
    statistics = None if settings.statistics is None else ActionStatistics.from_json(settings.statistics)
    maker = ExampleMaker(
        ExampleSettings(
            get_format(settings.format, symbols=settings.symbols, statistics=statistics),
            reasoning=settings.reasoning,
            languages=tuple(settings.languages),
            state=settings.state,
            include_failures=settings.include_failures,
        )
    )
    about = {**dataclasses.asdict(settings), "skipped": maker.skipped}
    return write_examples(maker.make(read_labelled(data)), rows, about)


def read_labelled(path: Path) -> Iterator[LabelledTrajectory]:
    """The trajectories of the label set `path`."""
    from vlm2vla_sim.data.relabel.labels import read_labels

    return read_labels(path)
