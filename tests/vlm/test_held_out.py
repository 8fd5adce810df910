"""Rows of episodes that are held out: nothing of them is trained on, and the result is the checkpoint they choose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tracker_fakes
from vlm_lane import need_train

need_train()

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.data.episode import Example  # noqa: E402
from vlm2vla_sim.data.examples.folder import write_examples  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import load_processor  # noqa: E402
from vlm2vla_sim.training import lora  # noqa: E402
from vlm2vla_sim.training.held_out import group_rows, split_rows  # noqa: E402
from vlm2vla_sim.training.rows import open_rows  # noqa: E402
from vlm2vla_sim.training.settings import TrainSettings, preset  # noqa: E402

EPISODES = 8


def make_rows(folder: Path, *, learnable: bool = True) -> Path:
    """Two rows for each of eight episodes. learnable: else each answer is one that no other row has."""
    rng = np.random.default_rng(0)

    def picture() -> np.ndarray:
        return rng.integers(0, 256, (48, 64, 3), np.uint8)

    rows = []
    for number in range(EPISODES):
        for stage, images in (("plan", 1), ("verify", 2)):
            answer = f"{stage} 5" if learnable else " ".join(map(str, rng.integers(0, 10, 12)))
            pictures = tuple(picture() for _ in range(images))
            rows.append(Example(stage, pictures, f"row {number}", answer, f"episode {number}"))
    write_examples(rows, folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    return make_rows(tmp_path_factory.mktemp("held-out") / "rows")


def tiny(model: Path, **changed) -> TrainSettings:
    given = {"batch": 4, "per_device": 4, "learning_rate": 2e-3, "held_out": 0.25, "save_every": 1, **changed}
    return preset("small", str(model), **given)


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_rows_of_one_episode_or_with_the_same_picture_are_on_one_side(tiny_folder, rows, tmp_path):
    opened, _ = open_rows(rows, load_processor(str(tiny_folder)), max_tokens=1024, cache=tmp_path)
    split = split_rows(opened, 0.25, seed=3)
    prompts = [{row["prompt"][0]["content"][-1]["text"] for row in part} for part in (split.rows, split.held_out)]
    assert [len(part) for part in prompts] == [6, 2]
    assert not prompts[0] & prompts[1]
    assert (split.groups, split.all_groups) == (2, 8)
    drawn = [split_rows(opened, 0.25, seed=seed).held_out["prompt"] for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert group_rows([None] * 4, [["a"], ["b", "c"], ["d", "a"], ["c"]]) == [[0, 2], [1, 3]]
    assert group_rows(["x", "y", "x"], [["a"], ["b"], ["b"]]) == [[0, 1, 2]], "by the picture, two episodes are one"
    with pytest.raises(SettingError, match="none can be held out"):
        split_rows(opened.select([0, 1]), 0.5, seed=0)


@pytest.fixture(scope="module")
def settings(tiny_folder) -> TrainSettings:
    """With rows whose answers cannot be learned from others, at a rate with which the loss on these soon rises."""
    return tiny(tiny_folder, epochs=10, learning_rate=0.02, patience=2)


@pytest.fixture(scope="module")
def random_rows(tmp_path_factory) -> Path:
    return make_rows(tmp_path_factory.mktemp("random") / "rows", learnable=False)


@pytest.fixture(scope="module")
def whole(settings, random_rows, tmp_path_factory) -> Path:
    """The result of a training that stopped early, with its tracker."""
    tracker_fakes.CALLS.clear()
    out = tmp_path_factory.mktemp("whole") / "out"
    lora.train(settings, random_rows, out, trackers=["tracker_fakes:Memory"])
    return out


def test_the_loss_on_them_is_in_the_steps_and_the_record_and_the_lowest_is_the_result(
    tiny_folder, random_rows, whole, tmp_path
):
    steps = lines(whole, "losses.jsonl")
    held = [line["held_out"]["loss"] for line in steps]
    record = json.loads((whole / "training.json").read_text())["result"]
    told = record["held_out"]
    assert (told["rows"], told["episodes"], told["of_episodes"]) == (4, 2, 8)
    assert told["loss"] == min(held)
    assert told["step"] == 1 + held.index(min(held))
    assert told["stopped_early"]
    assert record["steps"] == len(held) == told["step"] + 2 < 30
    assert set(told["by_stage"]) == {"plan", "verify"}
    assert record["final_loss"] == steps[told["step"] - 1]["held_out"]["train_loss"]
    # The weights in the folder have that loss.
    settings = tiny(tiny_folder, adapter=str(whole), learning_rate=1e-12, epochs=0.1)
    again = lora.train(settings, random_rows, tmp_path / "again")
    assert again.held_out is not None
    assert again.held_out["loss"] == pytest.approx(told["loss"], abs=1e-5)


def test_a_tracker_is_told_of_every_step(whole):
    opened, *logged, closed = tracker_fakes.CALLS
    steps = lines(whole, "losses.jsonl")
    assert opened[1].folder == whole
    assert [call[1] for call in logged] == [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert [call[2]["train/loss"] for call in logged] == [line["loss"] for line in steps]
    assert [call[2]["held_out/verify/loss"] for call in logged] == [
        line["held_out"]["by_stage"]["verify"] for line in steps
    ]
    record = json.loads((whole / "training.json").read_text())["result"]
    assert record["trackers"] == {"tracker_fakes:Memory": {"logged": len(steps), "failed": 0, "error": ""}}
    assert closed[1] == {"final/loss": record["final_loss"], "final/held_out_loss": record["held_out"]["loss"]}


def test_when_killed_it_ends_where_it_would_have(settings, random_rows, whole, tmp_path):
    told = json.loads((whole / "training.json").read_text())["result"]["held_out"]

    def stop(at: int):
        def report(line: str) -> None:
            if line.startswith(f"step {at}, loss on the rows"):
                raise KeyboardInterrupt

        return report

    with pytest.raises(KeyboardInterrupt):  # while it waits for a lower loss
        lora.train(settings, random_rows, tmp_path / "killed", report=stop(told["step"] + 1))
    with pytest.raises(KeyboardInterrupt):  # when it has decided to stop
        lora.train(settings, random_rows, tmp_path / "killed", resume=True, report=stop(told["step"] + 2))
    done = lora.train(settings, random_rows, tmp_path / "killed", resume=True)
    assert done.steps == told["step"] + 2
    assert done.held_out is not None
    assert done.held_out["loss"] == pytest.approx(told["loss"], abs=1e-6)
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (whole, tmp_path / "killed"))
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_the_command_says_what_was_held_out(tiny_folder, rows, tmp_path, capsys):
    words = f"train {rows} --model {tiny_folder} --out {tmp_path / 'out'} --preset small --batch 4 --per-device 4"
    assert main([*words.split(), "--held-out", "0.3", "--epochs", "0.4", "--tracker", "tracker_fakes:Memory"]) == 0
    said = capsys.readouterr()
    assert "Held out 2 of 8 episodes (4 rows): lowest loss " in said.out
    assert "loss on the rows held out" in said.err
    assert tracker_fakes.CALLS[-1][0] == "close"
    assert main([*words.split(), "--patience", "2"]) == 1
    assert "no episodes are held out whose loss could decide" in capsys.readouterr().err
