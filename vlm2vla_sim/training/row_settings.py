"""The settings a folder of training rows was made with, and the check that decides whether it is used again.

Rows are made once and stored beside the result, because a resumed training run needs the same ones. They are used again
only if they were made of the same labels with the same settings; otherwise the model would be trained on other text
than requested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.settings_diff import differences, to_plain
from vlm2vla_sim.data.datasets.lerobot_layout import read_annotations
from vlm2vla_sim.data.examples.folder import read_about
from vlm2vla_sim.data.relabel.labels import LABELS, read_labels, read_settings
from vlm2vla_sim.errors import DataError, SettingError
from vlm2vla_sim.language.formats import ActionStatistics, needs_statistics
from vlm2vla_sim.language.prompts import prompts_hash
from vlm2vla_sim.policies.models.action_symbols import symbols_of


@dataclass(frozen=True)
class RowSettings:
    """Everything that decides the rows made of a data set; kept in their `about.json`."""

    data: str
    """The folder of the relabelled data set, absolute."""
    format: str = "vlm2vla"
    symbols: tuple[str, ...] | None = None
    """The texts of the ten tokens that format "tokens" writes digits with; None for every other format."""
    statistics: dict[str, Any] | None = None
    """The range of the data set's actions (`ActionStatistics.to_json`), for formats that write numbers over it."""
    reasoning: bool = True
    languages: tuple[str, ...] = ("en",)
    state: bool = False
    include_failures: bool = False
    prompts_sha256: str = ""
    labels_sha256: str = ""
    """Of the data set's `labels.jsonl`; empty if there is none."""

    @classmethod
    def collect(cls, data: Path, model: str, dtype: str, given: Mapping[str, Any]) -> RowSettings:
        """The settings of rows made of the label set `data` for `model`.

        given: format, reasoning, languages, state, include_failures, where they differ from the defaults. If the format
        is "tokens", the model is loaded to find its least likely tokens; if it writes numbers over the range of a data
        set, the range of this one's recorded commands is taken.
        """
        labels = data / LABELS
        statistics = _statistics(data) if needs_statistics(given.get("format", cls.format)) else None
        return cls(
            str(data.absolute()),
            **given,
            statistics=None if statistics is None else statistics.to_json(),
            symbols=symbols_of(model, dtype) if given.get("format") == "tokens" else None,
            prompts_sha256=prompts_hash(),
            labels_sha256=hashlib.sha256(labels.read_bytes()).hexdigest() if labels.is_file() else "",
        )

    def check(self, rows: Path) -> None:
        """SettingError if the rows in the folder `rows` were made with other settings."""
        about = read_about(rows)
        # Earlier versions recorded the folder as it was given, and not the labels, which then cannot be compared.
        saved = {"labels_sha256": self.labels_sha256, **about, "data": str(Path(about.get("data", "")).absolute())}
        # They made rows of failed demonstrations too.
        saved.setdefault("include_failures", _has_failures(Path(self.data)))
        different = "; ".join(map(str, differences(saved, self)))
        if different:
            raise SettingError(
                f"The rows in {rows} were made with {different}. Use the settings they were made with, remove that "
                "folder, or choose another folder for the result (--out DIR)."
            )


def _statistics(data: Path) -> ActionStatistics:
    actions = (one.trajectory.actions for one in read_labels(data))
    return ActionStatistics.of(actions, source=data.absolute().name)


def _has_failures(data: Path) -> bool:
    """Whether the recording that the label set `data` describes keeps demonstrations that failed."""
    try:
        return any(one.success is False for one in read_annotations(Path(read_settings(data)["data"])))
    except (DataError, KeyError):
        return False  # the folder has moved, or is no recording of ours


def check_rows(rows: Path, given: Mapping[str, Any]) -> None:
    """SettingError if a setting in `given` is not the one that the rows in the folder `rows` were made with.

    Likewise if the rows record other prompts than those of this version, with which the model would be evaluated.
    """
    about = read_about(rows)
    prompts = about.get("prompts_sha256") or prompts_hash()
    if prompts != prompts_hash():
        raise SettingError(
            f"The rows in {rows} were made with the prompts {prompts[:16]}, and this version sends "
            f"{prompts_hash()[:16]}. Make them again from the label set, or use the version that made them."
        )
    for name, value in given.items():
        if about.get(name) != to_plain(value):
            made = f"were made with {name} {about[name]}" if name in about else f"do not record {name}"
            raise SettingError(
                f"The rows in {rows} {made}, so {name} {value} cannot be applied to them. Give the label set instead, "
                "or leave the option out."
            )
