"""A run on a Ray cluster has the results of one process, whatever dies on the way."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import labelled_fakes
import pytest
from lane import need
from ray_cluster import SETTINGS, TwoNodes, difference, killing, run_on
from trajectory_fakes import write_folder

from vlm2vla_sim.data.datasets.open import DatasetOptions, open_dataset
from vlm2vla_sim.data.recording.record import record
from vlm2vla_sim.data.relabel.labels import LabelSettings
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.data.relabel.run import label_dataset
from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.evaluation.executors import ray_executor
from vlm2vla_sim.evaluation.executors.ray_executor import RayExecutor
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import SuiteRun, run_suite

need("ray", "ray")

pytestmark = pytest.mark.filterwarnings("default")  # Ray leaves sockets open when it ends

SCRIPTED = RunSettings(policy="scripted", tasks=("carrot_on_plate",), episodes=3, backend="point", image_size=(48, 64))


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    cluster = TwoNodes()
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> SuiteRun:
    """The run of `SETTINGS` in this process."""
    return run_suite(SETTINGS, out=tmp_path_factory.mktemp("alone") / "run", video=False)


def test_an_actor_a_replica_and_a_node_are_killed_and_nothing_is_lost_or_repeated(nodes, alone, tmp_path):
    kills = [(1, 0.3, "replica"), (3, 0.1, "actor"), (5, 0.2, "node")]
    with killing(nodes, tmp_path / "run" / "results.jsonl", kills) as killed:
        made = run_on(nodes, tmp_path / "run")
    assert killed == ["replica", "actor", "node"]
    assert difference(made, alone) == ""
    assert "This is attempt 2" in " ".join(result.reason for result in made.results)


def test_a_run_that_was_begun_in_one_process_is_continued_on_the_cluster(nodes, alone, tmp_path):
    folder = Path(shutil.copytree(alone.folder, tmp_path / "run"))
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (folder / "results.jsonl").write_text("".join(lines[:7]))
    told = []
    made = run_on(nodes, folder, resume=True, on_result=told.append)
    assert len(told) == 3
    assert difference(made, alone) == ""


def test_recorded_episodes_and_logs_come_from_the_nodes(nodes, tmp_path):
    settings = dataclasses.replace(SCRIPTED, backend="fakes:FaultyBackend")
    executor = RayExecutor(nodes.address)
    made = record(settings, tmp_path / "data", workers=2, executor=executor)
    executor.close()
    assert (made.episodes, made.left_out) == (2, 0)
    assert json.loads((tmp_path / "data" / "meta" / "info.json").read_text())["total_episodes"] == 2
    assert "Traceback" in (made.run.folder / "logs" / "ep0001_carrot_on_plate.txt").read_text()
    here = run_suite(settings, out=tmp_path / "here", video=False)
    assert difference(made.run, here) == ""


def test_labels_made_on_the_cluster_are_those_of_one_process_though_an_actor_is_killed(nodes, tmp_path):
    data = tmp_path / "set"
    write_folder(data, 6)
    next(data.glob("videos/*/*/file-002.mp4")).write_bytes(b"no video")
    settings = LabelSettings(str(data), DatasetOptions(), "rules", {})
    label_dataset(open_dataset(data), relabel, settings, tmp_path / "one", workers=1)
    executor = RayExecutor(nodes.address)
    with killing(nodes, tmp_path / "two" / "labels.jsonl", [(1, 0.0, "actor")]) as killed:
        label_dataset(
            open_dataset(data), labelled_fakes.slowly, settings, tmp_path / "two", workers=2, executor=executor
        )
    executor.close()
    assert killed == ["actor"]
    for name in ("labels.jsonl", "skipped.jsonl", "summary.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_an_error_of_the_model_ends_the_run_in_a_sentence(nodes, tmp_path):
    options = {**SETTINGS.policy_options, "adapter": "absent"}
    with pytest.raises(SettingError, match="There is no such adapter"):
        run_on(nodes, tmp_path / "run", dataclasses.replace(SETTINGS, policy_options=options))
    assert not (tmp_path / "run").exists()


def test_a_node_with_another_version_is_refused(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_executor, "code_versions", lambda: {"vlm2vla_sim": "99.0"})
    with pytest.raises(SettingError, match=r"has vlm2vla_sim [\d.]+ and this process 99\.0.*Install the same version"):
        run_on(nodes, tmp_path / "run", SCRIPTED)


def test_gpus_that_the_cluster_does_not_have_are_not_waited_for(nodes, tmp_path):
    executor = RayExecutor(nodes.address, replicas=2, gpus_per_replica=0.5)
    with pytest.raises(SettingError, match=r"2 replicas with 0\.5 GPUs each were asked for; the cluster has 0 GPUs"):
        run_suite(SCRIPTED, out=tmp_path / "run", video=False, executor=executor)
    executor.close()
    assert not (tmp_path / "run").exists()


def test_the_current_cluster_that_has_died_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ServerError, match=r"No Ray cluster answers at .*:1: .*ray start --head"):
        run_suite(SCRIPTED, out=tmp_path / "run", video=False, executor=RayExecutor("auto"))
    assert not (tmp_path / "run").exists()
