"""The Markdown table of the suite's figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

UNKNOWN = "not measured"
NOBODY = "not measured: no GPU was available"
GIGA = 1e9


def render(folder: Path | None, parts: Sequence[str]) -> str:
    """The table of each part. folder: of the JSON files; None if the suite was not run."""
    lines: list[str] = []
    for part in parts:
        path = folder / f"{part}.json" if folder else None
        lines += [f"**{TITLES[part]}**", ""]
        if path is None or not path.exists():
            lines += [f"{NOBODY if folder is None else UNKNOWN}.", ""]
            continue
        values = json.loads(path.read_text(encoding="utf-8"))
        lines += [*_about(values), *_rows(part, values)]
    return "\n".join(lines).rstrip() + "\n"


def _about(values: Mapping[str, Any]) -> Iterator[str]:
    machine, about = values["machine"], values["about"]
    versions = (f"{name} {machine[name]}" for name in ("torch", "transformers", "mujoco") if machine[name])
    told = [machine["gpu"] or "no GPU", *versions]
    if "parameters" in about:
        told.append(f"{about['parameters'] / 1e9:.2f} G parameters in {about['dtype']}, random")
    if values["rehearsal"]:
        told.insert(0, "a rehearsal in tiny sizes, whose figures say nothing about a GPU")
    yield f"{', '.join(told)}."
    yield ""
    if values["reason"]:
        yield f"{values['reason']}."
        yield ""


def _rows(part: str, values: Mapping[str, Any]) -> Iterator[str]:
    rows = values["rows"]
    if not rows:
        return
    columns = STUDY(rows) if part == "study" else COLUMNS[part]
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(show(row) for show in columns.values())} |"
    yield ""


Show = Callable[[Mapping[str, Any]], str]


def _number(key: str, form: str, scale: float = 1.0) -> Show:
    """Shows a figure; where there is none, why."""

    def show(row: Mapping[str, Any]) -> str:
        return row["reasons"][key] if row[key] is None else format(row[key] / scale, form)

    return show


def _study_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Show]:
    def cell(name: str) -> Show:
        return lambda row: row[name] if name == "arm" else f"{row[name]['k']}/{row[name]['n']}" if row[name] else "-"

    return {name: cell(name) for name in rows[0]}


STUDY = _study_columns
_LATENCY: dict[str, Show] = {
    "environments": lambda row: str(row["batch"]),
    "way": lambda row: row["way"],
    "s per cycle": _number("cycle_seconds", ".2f"),
    "answer tokens per s": _number("tokens_per_second", ".0f"),
    "peak memory [GB]": _number("peak_memory_bytes", ".1f", GIGA),
    "speed-up": lambda row: "-" if row["speed_up"] is None else f"{row['speed_up']:.2f}",
    "equal answers": lambda row: "-" if row["equal_answers"] is None else f"{row['equal_answers']:.0%}",
}
COLUMNS: dict[str, dict[str, Show]] = {
    "latency-4b": _LATENCY,
    "latency-12b": _LATENCY,
    "lora": {
        "rows per pass": lambda row: str(row["rows"]),
        "s per step": _number("step_seconds", ".3f"),
        "rows per s": _number("rows_per_second", ".1f"),
        "tokens per s": _number("tokens_per_second", ".0f"),
        "peak memory [GB]": _number("peak_memory_bytes", ".1f", GIGA),
        "our estimate [GB]": _number("estimated_bytes", ".1f", GIGA),
    },
    "drawing": {
        "image": lambda row: f"{row['width']}x{row['height']}, {row['quality']}",
        "images per s": _number("images_per_second", ".0f"),
        "drawn by": lambda row: row["device"],
    },
}
TITLES = {
    "latency-4b": "One cycle (plan, action, verification) at the proportions of gemma-3-4b",
    "latency-12b": "One cycle at the proportions of gemma-3-12b",
    "lora": "LoRA steps at the proportions of gemma-3-4b, rows of 1,024 tokens",
    "drawing": "Images of the twin",
    "study": "Arms of the study of the embedded model: successes",
}
