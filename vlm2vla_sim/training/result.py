"""Writes the result of a training run: a folder that appears at the end, complete."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.store import Store
from vlm2vla_sim.data.examples.folder import read_about
from vlm2vla_sim.language.formats.statistics import ActionStatistics, save_statistics
from vlm2vla_sim.policies.models.action_symbols import save_symbols
from vlm2vla_sim.training.progress import STEPS
from vlm2vla_sim.training.settings import TrainSettings
from vlm2vla_sim.training.training_record import RECORD

LOSSES = "losses.jsonl"
LEFT_BY_TRL = ("training_args.bin", "README.md")
"""Files of TRL that are removed from the result: a pickle, and a model card template."""
ADAPTER_FILES = frozenset({"adapter_config.json", "adapter_model.safetensors"})
TRACKED = "tracked"
"""Folder in the work folder for the files of trackers; they are moved to the result."""


@dataclass(frozen=True)
class Place:
    """The folders of a training run."""

    data: Path
    """The rows."""
    out: Path
    """The result."""
    work: Path
    """Everything until the end."""
    store: Store | None
    """`work`, open for writing in the main process; None in the others."""


def write_result(
    trainer: Any, processor: Any, settings: TrainSettings, record: dict[str, object], place: Place, best: Path | None
) -> None:
    """Write the result to a folder in `place.work`, then rename it to `place.out`.

    best: the folder of the weights, if they are not those that the trainer has.
    """
    draft = place.work / "result"
    if place.store is not None and draft.exists():
        shutil.rmtree(draft)
    trainer.accelerator.wait_for_everyone()
    if best is None:
        trainer.save_model(str(draft))  # every process takes part if the weights are sharded
    elif place.store is not None:
        shutil.copytree(best, draft)
    trainer.accelerator.wait_for_everyone()
    if place.store is None:
        return
    for name in LEFT_BY_TRL:
        (draft / name).unlink(missing_ok=True)
    if settings.method == "full":
        processor.save_pretrained(draft)
    else:
        for path in draft.iterdir():
            if path.name not in ADAPTER_FILES:
                path.unlink()
    symbols = read_about(place.data).get("symbols")
    if symbols:
        save_symbols(symbols, draft)
    statistics = read_about(place.data).get("statistics")
    if statistics:
        save_statistics(ActionStatistics.from_json(statistics), draft)
    text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    (draft / RECORD).write_text(text, encoding="utf-8")
    if (place.work / TRACKED).is_dir():
        for path in (place.work / TRACKED).iterdir():
            path.replace(draft / path.name)
    place.store.close()
    (place.work / STEPS).replace(draft / LOSSES)
    draft.replace(place.out)
    shutil.rmtree(place.work)
