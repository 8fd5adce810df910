"""Writes a folder of training rows for another program: rows, images and a data set card, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.atomic import creating_folder
from vlm2vla_sim.data.examples.folder import read_about
from vlm2vla_sim.data.exports.card import front_matter, table, write_card
from vlm2vla_sim.data.exports.formats import FORMATS, LlamaFactoryWriter, RowWriter
from vlm2vla_sim.data.exports.row import read_export_rows
from vlm2vla_sim.errors import RunFolderError, SettingError, unknown_name

LOAD = {
    "trl": '```python\nfrom datasets import load_dataset\n\nrows = load_dataset("FOLDER", split="train")\n'
    "trainer = trl.SFTTrainer(model, train_dataset=rows, ...)\n```",
    "llama-factory": f"`llamafactory-cli train ... --dataset_dir FOLDER --dataset {LlamaFactoryWriter.NAME}`",
    "openai": 'Upload `train.jsonl` with `purpose="fine-tune"`.',
}
"""How each program reads the folder, for the card."""


@dataclass(frozen=True)
class RowExport:
    """What was written."""

    rows: int
    stages: dict[str, int]
    """Stage -> number of rows."""
    skipped: dict[str, int]
    """Reason -> number of rows that were left out."""


def export_rows(rows: Path, out: Path, target: str, *, limit: int = 0, license_name: str = "") -> RowExport:
    """Write the rows in the folder `rows` to the new folder `out`, in the format `target` of `FORMATS`.

    limit: the first so many rows; 0 for all. license_name: for the card. RunFolderError if `out` exists; SettingError
    if no row is left, or if the format takes no set like this one. `out` appears when it is complete.
    """
    if target not in FORMATS:
        raise unknown_name("format of training rows", target, FORMATS)
    if out.exists():
        raise RunFolderError(f"{out} exists already. Choose another folder.")
    with creating_folder(out) as draft:
        writer = FORMATS[target](draft)
        try:
            made = _write(rows, writer, limit)
            if not made.rows:
                reasons = "; ".join(f"{reason}: {count}" for reason, count in made.skipped.items()) or "it has none"
                raise SettingError(f"No row of {rows} can be exported ({reasons}).")
            writer.close()
        finally:
            writer.abandon()
        _write_card(draft, out.name, made, target, writer.files, read_about(rows), license_name)
    return made


def _write(rows: Path, writer: RowWriter, limit: int) -> RowExport:
    stages: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for row in read_export_rows(rows):
        if limit and stages.total() >= limit:
            break
        problem = row if isinstance(row, str) else writer.add(row)
        if problem:
            skipped[problem] += 1
        elif not isinstance(row, str):
            stages[row.stage] += 1
    return RowExport(stages.total(), dict(stages), dict(skipped))


def _write_card(
    folder: Path, name: str, made: RowExport, target: str, files: str, about: Mapping[str, Any], license_name: str
) -> None:
    languages = list(about.get("languages") or ["en"])
    tags = ["vision-language-action", "vlm2vla", "widowx", target]
    front = front_matter(name, rows=made.rows, files=files, license_name=license_name, languages=languages, tags=tags)
    unknown, said = "not recorded", {True: "yes", False: "no"}
    facts = {
        "Source": Path(str(about["data"])).name if about.get("data") else unknown,
        "Action format": about.get("format", unknown),
        "Subtasks and plans": said.get(bool(about["reasoning"])) if "reasoning" in about else unknown,
        "Gripper state in the prompt": said.get(bool(about["state"])) if "state" in about else unknown,
        "Prompts (SHA-256)": str(about.get("prompts_sha256") or unknown)[:16],
        "License": license_name or "not stated; that of the source applies",
    }
    body = [
        "Rows that teach a vision-language model to move a robot arm by writing its actions as text. Each row has one "
        "or more camera images, a prompt, and the answer to learn.",
        table(("", ""), facts),
        table(("stage", "rows"), made.stages),
        "Axes of the actions: +x forward, +y left, +z up, in the frame of the robot's base; gripper 0 closed, 1 open.",
        "## Use",
        LOAD[target].replace("FOLDER", name),
    ]
    write_card(folder, front, name, body)
