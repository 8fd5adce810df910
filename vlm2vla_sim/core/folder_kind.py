"""Recognises the folders this package writes, so that a command given the wrong one can say what it is.

A folder is recognised by the names of its files; nothing is read. Without this, a command that is given another
command's folder would fail at the first missing key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder."""

    name: str
    """With an article, for sentences: "a run of `vlm2vla evaluate`"."""
    files: tuple[str, ...]
    """Files that every folder of this kind contains."""
    use: str
    """What to do with the folder, a sentence in which {path} stands for it."""


SESSION = FolderKind(
    "a session of `vlm2vla robot session`",
    ("plan.json", "events.jsonl"),
    "`vlm2vla trace {path}` prints its episodes and `vlm2vla watch {path}` shows it live.",
)
RUN = FolderKind(
    "a run of `vlm2vla evaluate`", ("settings.json", "results.jsonl"), "`vlm2vla trace {path}` prints its episodes."
)
LABELS = FolderKind(
    "a label set of `vlm2vla relabel`",
    ("settings.json", "labels.jsonl"),
    "`vlm2vla inspect {path}` shows it and `vlm2vla train {path}` trains on it.",
)
ROWS = FolderKind("a set of training rows", ("rows.jsonl",), "`vlm2vla train {path}` trains on it.")
LEROBOT = FolderKind(
    "a LeRobot data set",
    ("meta/info.json",),
    "`vlm2vla relabel {path}` labels it and `vlm2vla inspect {path}` shows it.",
)
RLDS = FolderKind(
    "an RLDS data set",
    ("dataset_info.json",),
    "`vlm2vla relabel {path}` labels it and `vlm2vla inspect {path}` shows it.",
)
TRAINING = FolderKind(
    "an unfinished training run of `vlm2vla train`",
    ("settings.json", "steps.jsonl"),
    "Continue it with `vlm2vla train ... --resume`.",
)
ADAPTER = FolderKind(
    "a LoRA adapter", ("adapter_config.json",), "`vlm2vla evaluate --policy vlm --adapter {path}` evaluates it."
)
MODEL = FolderKind("a model", ("config.json",), "`vlm2vla evaluate --policy vlm --model {path}` evaluates it.")
QUESTIONS = FolderKind("a set of VQA questions", ("questions.jsonl",), "`vlm2vla vqa --questions {path}` uses it.")
RETENTION = FolderKind("a result of `vlm2vla vqa`", ("retention.json",), "Read retention.json and answers.jsonl in it.")
LOGPROB = FolderKind("a result of `vlm2vla logprob`", ("logprob.json",), "Read logprob.json and actions.jsonl in it.")

KINDS = (
    *(SESSION, RUN, LABELS, ROWS, LEROBOT, RLDS, TRAINING),
    *(ADAPTER, MODEL, QUESTIONS, RETENTION, LOGPROB),
)
"""In the order in which they are tried."""


def folder_kind(path: Path) -> FolderKind | None:
    """The kind of the folder `path`; None if it is none of `KINDS`."""
    return next((kind for kind in KINDS if all((path / name).is_file() for name in kind.files)), None)


def wrong_folder(path: Path, expected: str) -> str:
    """The error text for `path`, given where `expected` is needed: what it is, and which command reads it.

    expected: with an article, such as "a label set of `vlm2vla relabel`".
    """
    if not path.is_dir():
        return f"There is no folder {path}; expected {expected}."
    kind = folder_kind(path)
    if kind is None:
        return f"{path} is not {expected}."
    return f"{path} is {kind.name}; expected {expected}. {kind.use.format(path=path)}"
