"""`vlm2vla train`: from relabelled trajectories, or rows of training text, to an adapter."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from json import loads
from pathlib import Path
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.examples.folder import ROWS, RowSummary, write_examples
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.models.hub import locate
from vlm2vla_sim.training.launch import in_many_processes, launch
from vlm2vla_sim.training.row_settings import RowSettings, check_settled
from vlm2vla_sim.training.settings import TrainSettings, preset
from vlm2vla_sim.training.training_record import RECORD


def train(
    data: Annotated[Path, tyro.conf.Positional],
    *,
    model: str,
    out: Path,
    preset_name: Annotated[str, tyro.conf.arg(name="preset")] = "paper",
    adapter: Path | None = None,
    method: str | None = None,
    rank: int | None = None,
    alpha: int | None = None,
    learning_rate: float | None = None,
    batch: int | None = None,
    per_device: int | None = None,
    epochs: float | None = None,
    dtype: str | None = None,
    max_tokens: int | None = None,
    save_every: int | None = None,
    seed: int | None = None,
    format: str = "vlm2vla",
    reasoning: bool = True,
    languages: tuple[str, ...] = ("en",),
    state: bool = False,
    estimate: bool = False,
    resume: bool = False,
    force: bool = False,
    launch_with: Annotated[str, tyro.conf.arg(name="launch")] = "",
    processes: int = 1,
    json: bool = False,
) -> CommandResult:
    """Train a LoRA adapter, or with --method full every weight, and leave it in a folder that evaluate takes.

    What is None comes from the preset. A training that was stopped goes on with the same words and --resume.

    Args:
        data: A relabelled data set, or a folder of rows (rows.jsonl and pictures), for which --format, --no-reasoning,
            --languages and --state are settled already.
        model: The base model: a folder, or a name on the hub such as google/gemma-3-12b-it.
        out: Folder for the adapter; it appears when it is complete.
        preset_name: paper (rank 16, alpha 32, 5e-5 falling linearly, batch 8, 1 epoch, bfloat16), or small.
        adapter: Folder of an adapter of this model that goes on learning, instead of a new one.
        method: lora or full.
        rank: Of the adapter.
        alpha: The adapter's scale is alpha / rank.
        learning_rate: At the start.
        batch: Rows of a step, over all processes.
        per_device: Rows computed at once in one process.
        epochs: Times that every row is seen.
        dtype: bfloat16 or float32.
        max_tokens: Longer rows are left out and counted.
        save_every: Steps between points from which a killed training goes on.
        seed: Of the adapter's start and the order of rows.
        format: How actions are written; "tokens" (VLM2VLA-AT) finds the model's ten least likely tokens first.
        reasoning: With --no-reasoning, from the instruction straight to the action (VLM2VLA-NR).
        languages: What instructions are said in: en, es, zh, hi.
        state: Tell the model where the gripper is, for a policy with the option state=true.
        estimate: Only say what memory it would need.
        resume: Go on with a training that was stopped.
        force: Start although the memory will not do.
        launch_with: Train in several processes: ddp, deepspeed or fsdp through accelerate, or cpu.
        processes: How many, on this machine.
        json: Print JSON.
    """
    changed = {
        "adapter": None if adapter is None else str(adapter), "method": method,
        "rank": rank, "alpha": alpha, "learning_rate": learning_rate, "batch": batch,
        "per_device": per_device, "epochs": epochs, "dtype": dtype, "max_tokens": max_tokens,
        "save_every": save_every, "seed": seed,
    }  # fmt: skip
    given = {name: value for name, value in changed.items() if value is not None}
    settings = preset(preset_name, model, **given)
    if estimate:
        from vlm2vla_sim.training.memory import estimate as estimate_memory

        needs = estimate_memory(settings)
        return CommandResult(needs.text(), {"bytes": needs.total, "trained": needs.trained}, json)
    how = {"format": format, "reasoning": reasoning, "languages": languages, "state": state}
    locate(settings.model)  # before torch is imported, so that an unreachable hub is reported within seconds
    rows = _rows(data, out, settings, how, tell=not json)
    if launch_with:
        words = train_arguments(rows, out, preset_name, model, given=given)
        launch(launch_with, processes, [*words, *(["--resume"] if resume else []), *(["--force"] if force else [])])
        return _trained(out, as_json=json)
    from vlm2vla_sim.training.lora import train as train_model

    train_model(settings, rows, out, resume=resume, force=force, tell=_quiet if json else _to_stderr)
    return _trained(out, as_json=json)


def _trained(out: Path, *, as_json: bool) -> CommandResult:
    """What the record beside the result says of the training."""
    record = loads((out / RECORD).read_text(encoding="utf-8"))
    rows, skipped, result = record["data"]["rows"], record["data"]["skipped"], record["result"]
    left_out = "".join(f"\nLeft out, {why}: {count}" for why, count in skipped.items())
    loss = f"loss {result['final_loss']:.4f} nats per token"
    text = f"Trained {result['steps']} steps on {rows} rows; {loss}.{left_out}\n{out}"
    told = {name: result[name] for name in ("steps", "final_loss", "resumed", "processes")}
    return CommandResult(text, {"out": str(out), "rows": rows, "skipped": skipped, **told}, as_json)


def read_labelled(path: Path) -> Iterator[LabelledTrajectory]:
    """The relabelled trajectories in `path`."""
    from vlm2vla_sim.data.relabel.labels import read_labels

    return read_labels(path)


def _rows(data: Path, out: Path, settings: TrainSettings, how: Mapping[str, Any], *, tell: bool) -> Path:
    """The folder of rows: `data` itself, or made of it beside `out`, once."""
    if (data / ROWS).is_file():
        check_settled(data, how)
        return data
    if not data.exists():
        raise SettingError(f"There is no {data}; give a relabelled data set, or a folder of rows.")
    if in_many_processes():
        raise SettingError(
            f"{data} holds no {ROWS}. In several processes only rows can be trained on: let `vlm2vla train --launch` "
            "start the processes, which makes the rows first."
        )
    rows = out.with_name(f"{out.name}.rows")
    made_with = RowSettings.collect(data, settings.model, settings.dtype, how)
    if rows.exists():
        made_with.check(rows)
    else:
        written = make_rows(data, rows, made_with)
        if tell:
            _to_stderr(f"{written.rows} rows in {rows}: {written.stages}; left out: {written.skipped or 'none'}")
    return rows


def make_rows(data: Path, rows: Path, settings: RowSettings) -> RowSummary:
    """Write the rows of the relabelled data set `data` to the folder `rows`, with what they were made with."""
    maker = ExampleMaker(
        ExampleSettings(
            get_format(settings.format, symbols=settings.symbols),
            reasoning=settings.reasoning,
            languages=tuple(settings.languages),
            state=settings.state,
        )
    )
    about = {**dataclasses.asdict(settings), "skipped": maker.skipped}
    return write_examples(maker.make(read_labelled(data)), rows, about)


def train_arguments(rows: Path, out: Path, preset_name: str, model: str, *, given: Mapping[str, object]) -> list[str]:
    """The command line of a process that trains on `rows`; given: the settings that differ from the preset.

    >>> train_arguments(Path("r"), Path("o"), "paper", "m", given={"per_device": 2})
    ['train', 'r', '--model', 'm', '--out', 'o', '--preset', 'paper', '--per-device', '2']
    """
    words = ["train", str(rows), "--model", model, "--out", str(out), "--preset", preset_name]
    return words + [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _quiet(line: str) -> None:
    del line
