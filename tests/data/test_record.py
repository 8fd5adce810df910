"""What is recorded is what was seen and sent; an episode is in the data set whole or not at all, and none is lost."""

from __future__ import annotations

import dataclasses
import json

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim.cli import main
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.lerobot_layout import read_annotations
from vlm2vla_sim.data.datasets.open import check_images, open_dataset
from vlm2vla_sim.data.recording.record import record
from vlm2vla_sim.data.recording.recorder import DemonstrationRecorder, read_staged
from vlm2vla_sim.envs.motion import MAX_STEP
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import InterruptedRunError

POINT = RunSettings(tasks=("carrot_on_plate",), episodes=2, backend="point", image_size=(48, 64))
TWO_TASKS = dataclasses.replace(POINT, tasks=("carrot_on_plate", "stack_cube"))


class Witness(gym.Wrapper):
    """Remembers what came out and what went in."""

    def reset(self, **options):
        observation, info = self.env.reset(**options)
        self.seen, self.sent = [observation], []
        return observation, info

    def step(self, action):
        after = self.env.step(action)
        self.seen.append(after[0])
        self.sent.append(np.array(action))
        return after


def test_what_is_kept_is_what_was_seen_before_each_step_and_the_step(tmp_path):
    env = Witness(gym.make("vlm2vla/WidowXCarrotOnPlate-v0", backend="point", image_size=(48, 64)))
    recorder = DemonstrationRecorder(env, tmp_path, "one")
    result = run_episode(recorder, "scripted", episode_id=3)
    recorder.keep(result)
    staged = read_staged(tmp_path, "one")
    assert staged is not None
    assert len(staged.states) == len(staged.actions) == result.steps == len(env.sent)
    assert np.allclose(staged.actions, env.sent, atol=1e-7)
    assert np.array_equal(staged.states, [one["agent_pos"] for one in env.seen[:-1]])


def test_a_step_that_was_cut_short_is_kept_as_the_arm_was_given_it(tmp_path):
    recorder = DemonstrationRecorder(
        gym.make("vlm2vla/WidowXCarrotOnPlate-v0", backend="point", image_size=(48, 64)), tmp_path, "one"
    )
    recorder.reset(options={"episode_id": 0})
    recorder.step(np.array([0, 0.2, 0, 0, 0, 0, 1], np.float32))
    assert recorder._actions[0] == pytest.approx([0, MAX_STEP, 0, 0, 0, 0, 1])
    recorder.drop()
    assert list(tmp_path.iterdir()) == []


def test_a_recording_is_a_data_set_with_words_in_it(tmp_path, read_video):
    made = record(TWO_TASKS, tmp_path / "set")
    assert (made.episodes, made.left_out) == (4, 0)
    words = {one.name: one for one in read_annotations(tmp_path / "set")}
    assert sorted(words) == [f"{task}/{k:05d}" for task in ("carrot_on_plate", "stack_cube") for k in (0, 1)]
    env = gym.make("vlm2vla/WidowXCarrotOnPlate-v0", backend="point", image_size=(48, 64))
    first = env.reset(options={"episode_id": 1})[0]
    for one in open_dataset(tmp_path / "set"):
        assert not isinstance(one, Skipped)
        check_images(one)
        assert one.instruction == words[one.name].instruction
        decisions = words[one.name].decisions
        assert (decisions[0].start, decisions[-1].stop) == (0, len(one))
        assert decisions[0].subtask.startswith("grasp the ")
        if one.name == "carrot_on_plate/00001":
            assert np.allclose(one.states[0], first["agent_pos"])
            difference = one.images[0].astype(int) - first["pixels"]["primary"]
            assert np.abs(difference).mean() < 6
    assert not list((tmp_path / "set").rglob("*.npz"))


def test_only_successes_are_kept_unless_all_are_asked_for(tmp_path):
    failing = dataclasses.replace(POINT, policy="hold")
    assert record(failing, tmp_path / "some").episodes == 0
    made = record(failing, tmp_path / "all", keep_failures=True)
    assert made.episodes == 2
    assert {one.outcome for one in read_annotations(tmp_path / "all")} == {"failure"}
    assert not list((tmp_path / "some").rglob("*.mp4"))


def test_a_recording_is_resumed_only_with_the_same_choice_of_episodes(tmp_path):
    record(POINT, tmp_path / "set")
    with pytest.raises(RunFolderError, match=r"The recording in .* was made with keep_failures False, not True"):
        record(POINT, tmp_path / "set", resume=True, keep_failures=True)
    record(POINT, tmp_path / "set", resume=True)


def test_two_workers_record_the_same_as_none(tmp_path):
    record(TWO_TASKS, tmp_path / "1")
    record(TWO_TASKS, tmp_path / "2", workers=2)
    alone, together = ({one.name: one for one in open_dataset(tmp_path / name)} for name in "12")
    assert set(alone) == set(together)
    for name, one in alone.items():
        assert np.array_equal(one.actions, together[name].actions)
        assert np.array_equal(one.images[7], together[name].images[7])


def test_a_recording_that_was_interrupted_goes_on_and_repeats_nothing(tmp_path):
    episodes = []

    def stop_after_two(result):
        episodes.append(result.episode_id)
        if len(episodes) == 2:
            raise KeyboardInterrupt

    four = dataclasses.replace(POINT, episodes=4)
    with pytest.raises(InterruptedRunError):
        record(four, tmp_path / "set", on_result=stop_after_two)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set/data").rglob("*.parquet")}
    assert len(before) == 2
    with pytest.raises(RunFolderError, match=r"not empty.*--resume"):
        record(four, tmp_path / "set")
    made = record(four, tmp_path / "set", resume=True, on_result=lambda result: episodes.append(result.episode_id))
    assert made.episodes == 4
    assert episodes == [0, 1, 2, 3]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_episode_whose_result_was_written_and_whose_data_was_not_comes_in_later(tmp_path, monkeypatch):
    """A crash between the two leaves the episode aside; going on puts it in."""

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vlm2vla_sim.data.datasets.lerobot_write.LeRobotWriter.add_with_video", crash)
        with pytest.raises(InterruptedRunError):
            record(POINT, tmp_path / "set")
    assert len((tmp_path / "set/recording/results.jsonl").read_text().splitlines()) == 1
    assert record(POINT, tmp_path / "set", resume=True).episodes == 2


@pytest.mark.parametrize("size", [None, (47, 64)])
def test_pictures_that_no_video_can_hold_are_refused_before_anything_is_run(tmp_path, size):
    with pytest.raises(SettingError, match="two even numbers"):
        record(dataclasses.replace(POINT, image_size=size), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_an_episode_that_broke_is_not_in_the_data_set(tmp_path):
    made = record(dataclasses.replace(POINT, backend="fakes:FaultyBackend"), tmp_path / "set", keep_failures=True)
    assert [one.name for one in read_annotations(tmp_path / "set")] == ["carrot_on_plate/00000"]
    assert made.run.summary.overall.n_error == 1
    assert not list((tmp_path / "set/recording").rglob("*.mp4"))


def test_the_three_commands_lead_from_a_policy_to_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    point = ("--backend", "point", "--image-size", "48", "64", "--tasks", "carrot_on_plate", "--episodes", "2")
    assert main.main(["record", *point, "--out", "set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 2
    assert main.main(["relabel", "set", "--out", "words", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["labelled"], told["skipped"]) == (2, 0)
    assert main.main(["inspect", "words", "--out", "page.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trajectories"] == 2
    assert "grasp the carrot" in (tmp_path / "page.html").read_text()
