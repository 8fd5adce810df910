"""Vector environments: the same motion in one process or several, and no hang after an image was rendered."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim import make_vec
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import EpisodeError, UnknownNameError

ID = TASKS["carrot_on_plate"].env_id
SMALL = (32, 48)


PLAIN = f"""
import sys
import vlm2vla_sim

def main():
    envs = vlm2vla_sim.make_vec("{ID}", 2, backend="point", image_size=(32, 48))
    print(envs.reset(seed=0)[0]["agent_pos"].shape)
    envs.close()

"""
"""A script that makes a vector environment once `main` is called."""
AFTER_AN_IMAGE = f"""
import gymnasium as gym
import vlm2vla_sim

if __name__ == "__main__":
    env = gym.make("{ID}", image_size=(32, 48))
    env.reset(seed=0)
    envs = gym.make_vec("{ID}", 2, "async", image_size=(32, 48), vector_kwargs={{"context": CONTEXT}})
    print(envs.reset(seed=0)[0]["pixels"]["primary"].shape)
    envs.close()
"""


def run_script(path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` as a script; its processes are killed, and the test fails, after a minute and a half."""
    path.write_text(code)
    script = subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = script.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        os.killpg(script.pid, signal.SIGKILL)
        script.communicate()
        pytest.fail("The script hangs.")
    return subprocess.CompletedProcess(script.args, script.returncode, out, err)


def play(mode: str) -> tuple[np.ndarray, np.ndarray]:
    """(images, states) of two environments over four steps with different actions."""
    envs = make_vec(ID, 2, mode=mode, image_size=SMALL)
    try:
        observation, _ = envs.reset(seed=[3, 4])
        seen = [(observation["pixels"]["primary"].copy(), observation["agent_pos"].copy())]
        for _ in range(4):
            actions = np.array([[0.03, 0, -0.02, 0, 0, 0.1, 1], [0, 0.03, 0, 0, 0, 0, 0]], np.float32)
            observation, *_ = envs.step(actions)
            seen.append((observation["pixels"]["primary"].copy(), observation["agent_pos"].copy()))
    finally:
        envs.close()
    return np.array([image for image, _ in seen]), np.array([state for _, state in seen])


def play_after_an_image() -> None:
    """Render here, then play in processes, and print the result."""
    env = gym.make(ID, image_size=SMALL)
    env.reset(seed=0)
    images, states = play("async")
    env.close()
    sys.stdout.write(json.dumps({"images": hashlib.sha256(images).hexdigest(), "states": states.tolist()}))


def test_processes_that_start_after_an_image_was_rendered_do_not_hang_and_see_the_same():
    """Forked processes would hang: Gymnasium forks by default, and OpenGL does not survive a fork."""
    command = [sys.executable, "-c", "import test_vector; test_vector.play_after_an_image()"]
    there = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, start_new_session=True)
    try:
        said, _ = there.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        os.killpg(there.pid, signal.SIGKILL)
        there.communicate()
        pytest.fail("The processes hang at their first image.")
    assert there.returncode == 0
    apart = json.loads(said)
    images, states = play("sync")
    np.testing.assert_array_equal(states, np.array(apart["states"], np.float32))
    assert hashlib.sha256(images).hexdigest() == apart["images"]
    assert np.abs(states[-1, 0] - states[-1, 1]).max() > 0.02, "the two did different things"


@pytest.mark.parametrize("call", ["main()", "for _ in range(1):\n    main()", "if len(sys.argv) == 1:\n    main()"])
def test_a_script_without_a_main_guard_ends_in_one_sentence(tmp_path, call):
    done = run_script(tmp_path / "plain.py", PLAIN + call)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("Traceback") == 1, "no other process failed, and no other error caused this one"
    last = done.stderr.splitlines()[-1]
    line = (PLAIN + call).count("\n") + 1
    assert last.startswith(f"vlm2vla_sim.errors.SettingError: make_vec(mode='async') is called at line {line} of ")
    assert "Move the call under such a block, or use mode='sync'." in last


@pytest.mark.parametrize(
    "call",
    [
        'if __name__ == "__main__":\n    main()',
        'if __name__ == "__main__" and True:\n    for _ in "1":\n        main()',
    ],
)
def test_a_script_with_a_main_guard_runs(tmp_path, call):
    done = run_script(tmp_path / "guarded.py", PLAIN + call)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(2, 7)\n", "")


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform does not fork")
def test_a_process_that_was_forked_after_an_image_says_so_instead_of_hanging(tmp_path):
    done = run_script(tmp_path / "forked.py", AFTER_AN_IMAGE.replace("CONTEXT", "'fork'"))
    assert done.returncode == 1
    assert "RendererError: This process was forked from one that had already rendered an image" in done.stderr
    assert "vector_kwargs={'context': 'forkserver'}" in done.stderr.splitlines()[-1]


def test_the_way_out_that_the_error_names_works(tmp_path):
    done = run_script(tmp_path / "forkserver.py", AFTER_AN_IMAGE.replace("CONTEXT", "'forkserver'"))
    assert (done.returncode, done.stdout) == (0, "(2, 32, 48, 3)\n")


def processes(mode: str) -> set[int]:
    envs = make_vec(ID, 2, mode=mode, backend="fakes:ProcessBackend", image_size=SMALL)
    envs.reset(seed=0)
    found = {int(profile) for profile in envs.get_attr("profile")}
    envs.close()
    return found


def test_async_means_a_process_each_and_sync_none():
    assert processes("sync") == {os.getpid()}
    workers = processes("async")
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_a_vector_starts_the_next_episode_by_itself():
    envs = make_vec(ID, 1, mode="sync", backend="point", image_size=SMALL)
    envs.reset(seed=0)
    hold = np.array([[0, 0, 0, 0, 0, 0, 1]], np.float32)
    ends = [bool(envs.step(hold)[3][0]) for _ in range(62)]
    assert ends == [False] * 59 + [True, False, False]
    envs.close()


def test_what_it_cannot_make_is_refused():
    with pytest.raises(UnknownNameError, match=r"No vector mode named 'asinc'\. Did you mean 'async'\?"):
        make_vec(ID, 2, mode="asinc")
    with pytest.raises(EpisodeError, match="num_envs is 0; expected 1 or more"):
        make_vec(ID, 0)
    with pytest.raises(UnknownNameError, match=r"No backend named 'mujco'"):
        make_vec(ID, 1, mode="sync", backend="mujco")
