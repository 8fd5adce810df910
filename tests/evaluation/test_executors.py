"""What an executor is asked for and cannot do is refused before anything starts."""

from __future__ import annotations

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.evaluation.executors.ray_executor import RayExecutor
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite

SETTINGS = RunSettings(policy="hold", tasks=("carrot_on_plate",), episodes=1, backend="point", image_size=(48, 64))


@pytest.mark.parametrize("flags", [["--replicas", "2"], ["--address", "auto"], ["--gpus-per-replica", "1"]])
@pytest.mark.parametrize("command", ["evaluate", "record"])
def test_a_flag_of_another_executor_is_refused(tmp_path, capsys, command, flags):
    words = [command, "--policy", "hold", "--backend", "point", "--episodes", "1", "--out", str(tmp_path / "run")]
    assert main([*words, *flags]) == 1
    assert f"{flags[0]} was given without --executor ray; local processes do not use it." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"replicas": 0}, {"gpus_per_replica": -1}, {"gpus_per_replica": float("nan")}])
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(SettingError, match="expected 1 or more replicas and 0 or more GPUs"):
        RayExecutor(**options)


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "127.0.0.1:x"])
def test_an_address_of_another_form_is_refused(tmp_path, address):
    with pytest.raises(SettingError, match="expected auto or HOST:PORT"):
        run_suite(SETTINGS, out=tmp_path / "run", video=False, executor=RayExecutor(address))


def test_a_cluster_that_does_not_answer_is_a_sentence(tmp_path):
    with pytest.raises(ServerError, match=r"No Ray cluster answers at 127\.0\.0\.1:1: .*ray start --head"):
        run_suite(SETTINGS, out=tmp_path / "run", video=False, executor=RayExecutor("127.0.0.1:1"))
    assert not (tmp_path / "run").exists()


def test_a_real_robot_is_not_run_on_a_cluster(tmp_path):
    settings = RunSettings(policy="hold", tasks=("carrot_on_plate",), episodes=1, backend="bridge")
    with pytest.raises(SettingError, match="There is one robot"):
        run_suite(settings, out=tmp_path / "run", video=False, executor=RayExecutor())
