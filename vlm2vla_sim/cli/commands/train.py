"""`vlm2vla train`: train an adapter or a whole model on labelled trajectories, or on a folder of training rows."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.cli.training_rows import RowFlags, check_data, make_rows
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.data.examples.folder import ROWS, read_about
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.policies.models.hub import locate
from vlm2vla_sim.training.launch import in_many_processes, launch
from vlm2vla_sim.training.row_settings import RowSettings, check_rows
from vlm2vla_sim.training.settings import TrainSettings, preset
from vlm2vla_sim.training.training_record import RECORD


@dataclass(frozen=True)
class RecipeFlags:
    """The training recipe. An option that is not given comes from the preset."""

    model: str
    """The base model: a folder, or a name on the hub such as google/gemma-3-12b-it."""
    preset: str = "paper"
    """paper (rank 16, alpha 32, learning rate 5e-5 with linear decay, batch 8, 1 epoch, bfloat16), or small."""
    adapter: Path | None = None
    """Folder of an adapter of this model to continue training, instead of a new one."""
    method: str | None = None
    """lora or full."""
    rank: int | None = None
    """Rank of the adapter."""
    alpha: int | None = None
    """Scale of the adapter: alpha / rank."""
    learning_rate: float | None = None
    """Initial learning rate."""
    batch: int | None = None
    """Rows per step, over all processes."""
    per_device: int | None = None
    """Rows per forward pass in one process."""
    epochs: float | None = None
    """Passes over the data."""
    dtype: str | None = None
    """bfloat16 or float32."""
    max_tokens: int | None = None
    """Maximum length of a row; longer rows are left out and counted."""
    save_every: int | None = None
    """Steps between checkpoints."""
    seed: int | None = None
    """Seed for the initial adapter weights, the order of rows, and which episodes are held out."""
    quantization: str | None = None
    """QLoRA: 4bit or 8bit, for the base model's linear layers (bitsandbytes); the adapter is not quantized."""
    packing: bool = False
    """Lay several rows in one sequence instead of padding them; with --per-device of 2 or more."""
    held_out: float | None = None
    """Share of the episodes to hold out, such as 0.05: the loss on them is computed at every checkpoint, and the
    result is the checkpoint where it is lowest."""
    patience: int | None = None
    """Stop after so many checkpoints in a row without a lower loss on the rows held out."""

    def given(self) -> dict[str, Any]:
        """The settings that were given on the command line."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["adapter"] = None if self.adapter is None else str(self.adapter)
        left_out = ("model", "preset", *(() if self.packing else ("packing",)))
        return {name: value for name, value in values.items() if value is not None and name not in left_out}

    def settings(self) -> TrainSettings:
        """The settings of the training run."""
        return preset(self.preset, self.model, **self.given())


def train(
    data: Annotated[Path, tyro.conf.Positional],
    recipe: RecipeFlags,
    rows: RowFlags,
    *,
    out: Path,
    estimate: bool = False,
    resume: bool = False,
    force: bool = False,
    launch_with: Annotated[str, tyro.conf.arg(name="launch")] = "",
    processes: int = 1,
    tracker: Annotated[tuple[str, ...], tyro.conf.arg(metavar="trackio|wandb|tensorboard|MODULE:NAME...")] = (),
    json: bool = False,
) -> CommandResult:
    """Train a LoRA adapter, or with --method full every weight, for `vlm2vla evaluate`.

    An interrupted training run is continued by repeating the command with --resume.

    Args:
        data: A label set of `vlm2vla relabel`, or a folder of rows (rows.jsonl and images).
        recipe: The training recipe.
        rows: How rows are made of a label set.
        out: Folder for the result; it appears when the training run is complete.
        estimate: Only print the estimated memory.
        resume: Continue an interrupted training run.
        force: Start even if the estimated memory exceeds what is available.
        launch_with: Train in several processes: ddp, deepspeed or fsdp through accelerate, or cpu.
        processes: Number of processes on this machine, with --launch.
        tracker: Send the figures of every step to experiment trackers: trackio, wandb, tensorboard, or your own as
            package.module:NAME.
        json: Print JSON.
    """
    settings = recipe.settings()
    if processes != 1 and not launch_with:
        raise SettingError(f"{processes} processes were requested without --launch. Add --launch ddp, or another one.")
    if settings.quantization and launch_with in ("fsdp", "deepspeed"):
        raise SettingError(
            f"A model in {settings.quantization} is not sharded by --launch {launch_with}. Use --launch ddp, which "
            "needs the whole model on each GPU, or leave --quantization out."
        )
    if estimate:
        from vlm2vla_sim.training.memory import estimate as estimate_memory

        needs = estimate_memory(settings)
        return CommandResult(needs.text(), {"bytes": needs.total, "trained": needs.trained}, json)
    check_data(data)
    locate(settings.model)  # before torch is imported, so that an unreachable hub is reported within seconds
    check_path(out, RunFolderError, beside=".work")
    folder = prepare_rows(data, out, settings, rows.given(), report=not json)
    if launch_with:
        arguments = train_arguments(folder, out, recipe.preset, recipe.model, given=recipe.given())
        arguments += [*(["--resume"] if resume else []), *(["--force"] if force else [])]
        arguments += ["--tracker", *tracker] if tracker else []
        launch(launch_with, processes, arguments)
        return _result(out, as_json=json)
    from vlm2vla_sim.training.lora import train as train_model

    report = _ignore if json else _to_stderr
    train_model(settings, folder, out, resume=resume, force=force, trackers=tracker, report=report)
    return _result(out, as_json=json)


def prepare_rows(data: Path, out: Path, settings: TrainSettings, given: Mapping[str, Any], *, report: bool) -> Path:
    """The folder of rows: `data` itself, or one made of the label set `data` beside `out`, once.

    given: the settings of `RowFlags` that were given. SettingError for rows that were made with other settings.
    """
    if (data / ROWS).is_file():
        check_rows(data, given)
        return data
    if in_many_processes():
        raise SettingError(
            f"{data} contains no {ROWS}. Several processes train on rows only: start them with `vlm2vla train "
            "--launch`, which makes the rows first."
        )
    rows = out.with_name(f"{out.name}.rows")
    row_settings = RowSettings.collect(data, settings.model, settings.dtype, given)
    if rows.exists():
        row_settings.check(rows)
    else:
        written = make_rows(data, rows, row_settings)
        if report:
            skipped = {**read_about(rows)["skipped"], **written.skipped}
            _to_stderr(f"{written.rows} rows in {rows}: {written.stages}; skipped: {skipped or 'none'}")
    return rows


def train_arguments(rows: Path, out: Path, preset_name: str, model: str, *, given: Mapping[str, object]) -> list[str]:
    """The arguments of a process that trains on `rows`. given: the settings that differ from the preset.

    >>> train_arguments(Path("r"), Path("o"), "paper", "m", given={"per_device": 2})
    ['train', 'r', '--model', 'm', '--out', 'o', '--preset', 'paper', '--per-device', '2']
    """
    arguments = ["train", str(rows), "--model", model, "--out", str(out), "--preset", preset_name]
    for name, value in given.items():
        arguments += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return arguments


def _result(out: Path, *, as_json: bool) -> CommandResult:
    """The result of a training run, from the record in its folder."""
    record = loads((out / RECORD).read_text(encoding="utf-8"))
    rows, skipped, result = record["data"]["rows"], record["data"]["skipped"], record["result"]
    unmade = record["data"]["about"].get("skipped", {})
    lines: Sequence[str] = (
        f"Trained {result['steps']} steps on {rows} rows; loss {result['final_loss']:.4f} nats per token.",
        *_held_out_lines(result.get("held_out")),
        *(f"Skipped, {reason}: {count}" for reason, count in skipped.items()),
        *(f"Not made into rows, {reason}: {count}" for reason, count in unmade.items()),
        f"{'Model' if record['settings'].get('method') == 'full' else 'Adapter'}  {out}",
    )
    values = {name: result.get(name) for name in ("steps", "final_loss", "held_out", "resumed", "processes")}
    return CommandResult(
        "\n".join(lines), {"out": str(out), "rows": rows, "skipped": skipped, "unmade": unmade, **values}, as_json
    )


def _held_out_lines(held_out: Mapping[str, Any] | None) -> list[str]:
    if held_out is None:
        return []
    kinds = ", ".join(f"{name} {loss:.4f}" for name, loss in held_out["by_stage"].items())
    ended = "; stopped early" if held_out["stopped_early"] else ""
    return [
        f"Held out {held_out['episodes']} of {held_out['of_episodes']} episodes ({held_out['rows']} rows): lowest loss "
        f"{held_out['loss']:.4f} after step {held_out['step']}{ended} ({kinds})"
    ]


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _ignore(line: str) -> None:
    del line
