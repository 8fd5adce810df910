"""What is decided without torch: the recipe, the launch files, the words for the processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vlm2vla_sim.cli.commands.train import train_arguments
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.training.launch import CONFIGS, CPU, config_path, launch_command
from vlm2vla_sim.training.settings import PRESETS, TrainSettings, preset


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "qlora"}, "No method named 'qlora'"),
        ({"dtype": "float16"}, "No dtype named 'float16'"),
        ({"rank": 0}, "rank is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected more than 0 and at most 1"),
        ({"epochs": float("inf")}, "epochs is inf"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"method": "full", "rank": 8}, "rank is 8, but --method full trains no adapter"),
        ({"adapter": "a", "alpha": 8}, "alpha is 8, but an existing adapter keeps its own"),
        ({"adapter": "a", "method": "full"}, "An adapter cannot be trained with --method full"),
    ],
)
def test_settings_that_make_no_sense_are_told(changed, said):
    with pytest.raises(ValueError, match=said):
        TrainSettings("m", **changed)


def test_a_preset_is_the_recipe_with_what_was_changed():
    assert set(PRESETS) == {"paper", "small"}
    assert preset("paper", "m", rank=8, batch=16) == TrainSettings("m", rank=8, batch=16)
    with pytest.raises(ValueError, match=r"No preset named 'papers'\. Did you mean 'paper'"):
        preset("papers", "m")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_launch_file_comes_with_the_package_and_is_named_in_its_command(name):
    path = config_path(name)
    assert path.is_file()
    command = launch_command(name, 4, train_arguments(Path("rows"), Path("out"), "paper", "m", given={}))
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert command[command.index("--config_file") + 1] == str(path)
    assert command[command.index("--num_processes") + 1] == "4"
    assert command[-8:] == ["vlm2vla_sim", "train", "rows", "--model", "m", "--out", "out", "--preset", "paper"][-8:]


def test_on_cpus_torch_starts_the_processes():
    command = launch_command(CPU, 2, ["train", "rows"])
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert command[command.index("--nproc-per-node") + 1] == "2"
    assert command[-4:] == ["-m", "vlm2vla_sim", "train", "rows"]


def test_no_processes_and_unknown_files_are_refused():
    with pytest.raises(SettingError, match="number of processes is 0"):
        launch_command("ddp", 0, [])
    with pytest.raises(ValueError, match="No launch configuration named 'ds'"):
        config_path("ds")


def test_the_recipe_is_known_without_any_heavy_package():
    code = (
        "import sys, vlm2vla_sim.training.settings, vlm2vla_sim.training.launch, vlm2vla_sim.data.examples.maker\n"
        "assert not {'torch', 'transformers', 'trl', 'datasets', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
