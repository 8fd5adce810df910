"""An environment may be made, used and closed in different threads; images are those of one thread, byte for byte."""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import copy
import gc
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import vlm2vla_sim
from vlm2vla_sim.envs.base import CONTROL_HZ, WidowXEnv
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.envs.mujoco import gl_thread, renderer
from vlm2vla_sim.envs.vector import make_vec
from vlm2vla_sim.errors import EpisodeError, RendererError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.testing import PointBackend
from vlm2vla_sim.types import Outcome
from vlm2vla_sim.video.reader import VideoFrames

MOVES = (np.array([0.02, 0.01, -0.03, 0, 0, 0, 1], np.float32), np.array([0, 0, -0.03, 0, 0, 0.1, 0], np.float32))
SIZE = (96, 128)
Result = TypeVar("Result")


class Threads:
    """Threads that stay alive: OpenGL lets go of a context when the thread ends in which it was current."""

    def __init__(self, count: int) -> None:
        self._pools = [ThreadPoolExecutor(1) for _ in range(count)]

    def run(self, number: int, job: Callable[[], Result]) -> Result:
        return self._pools[number].submit(job).result(timeout=120)

    def end(self) -> None:
        for pool in self._pools:
            pool.shutdown()


@pytest.fixture
def threads():
    made = Threads(3)
    yield made
    made.end()


def make(task: str = "carrot_on_plate", **options: Any) -> WidowXEnv:
    return WidowXEnv(task, image_size=SIZE, render_mode="rgb_array", **options)


def images(env: WidowXEnv, run: Callable[[Callable[[], Any]], Any] = lambda job: job()) -> list[bytes]:
    """Every image of a short episode; `run` chooses the thread of each call."""
    seen = [run(lambda: env.reset(seed=0, options={"episode_id": 3}))[0]]
    seen += [run(lambda move=move: env.step(move))[0] for move in MOVES]
    assert np.array_equal(run(env.render), seen[-1]["pixels"]["primary"])
    return [one["pixels"][name].tobytes() for one in seen for name in sorted(one["pixels"])]


def alone(task: str = "carrot_on_plate", **options: Any) -> list[bytes]:
    env = make(task, **options)
    seen = images(env)
    env.close()
    return seen


TOP = {"cameras": {"top": Camera((0.3, 0.0, 0.7), (0.3, 0.01, 0.0), size=(32, 48))}}


@pytest.mark.parametrize("options", [{}, {"quality": "high"}, TOP], ids=["plain", "high", "cameras"])
def test_it_is_made_used_and_closed_in_a_thread_each(threads, options):
    env = threads.run(0, lambda: make(**options))
    turn = iter(range(1000))
    assert images(env, lambda job: threads.run(next(turn) % 3, job)) == alone(**options)
    threads.run(2, env.close)
    assert images(env, lambda job: threads.run(0, job)) == alone(**options), "a closed environment opens again"
    threads.run(1, env.close)


def test_segmentation_is_that_of_one_thread(threads):
    env = threads.run(0, make)
    threads.run(0, lambda: env.reset(seed=0, options={"episode_id": 3}))
    first = threads.run(0, env._backend.segmentation)
    assert set(np.unique(first)) > {0}
    assert np.array_equal(threads.run(1, env._backend.segmentation), first)
    assert np.array_equal(env._backend.segmentation(), first)
    env.close()


def test_asyncio_moves_an_environment_from_thread_to_thread():
    async def play() -> list[bytes]:
        env = await asyncio.to_thread(make)
        observation, _ = await asyncio.to_thread(env.reset, seed=0, options={"episode_id": 3})
        seen = [observation["pixels"]["primary"].tobytes()]
        for move in MOVES:
            observation, *_ = await asyncio.to_thread(env.step, move)
            seen.append(observation["pixels"]["primary"].tobytes())
            await asyncio.gather(*(asyncio.to_thread(env.render) for _ in range(3)))
        await asyncio.to_thread(env.close)
        return seen

    assert asyncio.run(play()) == alone()


def test_two_environments_draw_in_two_threads_at_once(threads):
    tasks = ("carrot_on_plate", "eggplant_in_basket")
    both = threading.Barrier(2)

    def play(task: str) -> list[list[bytes]]:
        env = make(task)
        both.wait(60)
        seen = [images(env) for _ in range(5)]
        env.close()
        return seen

    pools = [ThreadPoolExecutor(1) for _ in tasks]
    playing = [pool.submit(play, task) for pool, task in zip(pools, tasks, strict=True)]
    for task, future in zip(tasks, playing, strict=True):
        assert future.result(timeout=120) == [alone(task)] * 5
    for pool in pools:
        pool.shutdown()


# The garbage collector.


def test_an_environment_that_is_dropped_leaves_the_images_of_others_alone(threads):
    """Freed while the other's context was current, it took that one's images with it: they were black from then on."""
    kept, expected = make("stack_cube"), alone("stack_cube")
    for number in (None, 1):
        dropped = make()
        dropped.reset(seed=0)
        assert images(kept) == expected
        del dropped
        threads.run(number, gc.collect) if number is not None else gc.collect()
        assert images(kept) == expected
    kept.close()


def opengl_threads() -> int:
    return sum(thread.name == "vlm2vla-opengl" for thread in threading.enumerate())


def wait_for_opengl_threads(count: int) -> None:
    deadline = threading.Event()
    for _ in range(500):
        if opengl_threads() == count:
            return
        deadline.wait(0.02)
    assert opengl_threads() == count


def test_no_thread_is_left_of_an_environment_that_is_closed_or_dropped(threads):
    gc.collect()
    wait_for_opengl_threads(opengl_threads())
    before = opengl_threads()
    closed, dropped = make(), make()
    for env in (closed, dropped):
        env.reset(seed=0)
    assert opengl_threads() == before + 2
    threads.run(0, closed.close)
    del dropped, env
    gc.collect()
    wait_for_opengl_threads(before)


def test_a_copy_opens_a_context_of_its_own_and_has_turns_of_its_own():
    env = make()
    env.reset(seed=0, options={"episode_id": 3})
    twin = copy.deepcopy(env)
    env.close()
    assert images(twin) == alone()
    twin.close()


# What does not work says so.


class SlowBackend(PointBackend):
    """Waits inside a step until it is told to go on."""

    inside, go_on = threading.Event(), threading.Event()
    closed_while_moving = False

    def move(self, delta: np.ndarray) -> None:
        self.inside.set()
        assert self.go_on.wait(60)
        super().move(delta)
        self.inside.clear()

    def close(self) -> None:
        SlowBackend.closed_while_moving = self.inside.is_set()


def test_two_methods_at_once_are_refused_and_closing_waits(threads):
    env = WidowXEnv("carrot_on_plate", backend=SlowBackend)
    env.reset(seed=0)
    stepping = threads._pools[0].submit(env.step, MOVES[0])
    assert SlowBackend.inside.wait(60)
    with pytest.raises(EpisodeError, match=r"^step\(\) was called while step\(\) still runs in another thread\. Wait"):
        env.step(MOVES[0])
    with pytest.raises(EpisodeError, match=r"reset\(\) was called while step\(\) still runs in another thread"):
        threads.run(1, lambda: env.reset(seed=0))
    closing = threads._pools[2].submit(env.close)
    SlowBackend.go_on.set()
    assert stepping.result(60)[4]["task"] == "carrot_on_plate"
    closing.result(60)
    assert not SlowBackend.closed_while_moving
    assert threads.run(1, lambda: env.step(MOVES[0]))[4]["task"] == "carrot_on_plate", "the turn was given back"


def test_a_closed_renderer_says_so():
    model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><camera name="eye" pos="0 0 2"/></worldbody></mujoco>')
    drawn = renderer.OffscreenRenderer(model, 16, 16)
    drawn.close()
    drawn.close()
    with pytest.raises(RendererError, match=r"The renderer is closed .* Reset the environment"):
        drawn.render(mujoco.MjData(model), "eye")


def test_an_error_while_the_context_opens_ends_the_thread(monkeypatch):
    before = opengl_threads()
    monkeypatch.setattr(renderer, "platforms", lambda: ("no_such_platform",))
    with pytest.raises(RendererError, match="tried no_such_platform"):
        make().reset(seed=0)
    monkeypatch.undo()
    gc.collect()
    wait_for_opengl_threads(before)


def test_glfw_on_macos_stays_in_the_main_thread(threads, monkeypatch):
    """Its windows belong to the main thread there, and in another one the process would end."""
    monkeypatch.setattr(sys, "platform", "darwin")
    main = gl_thread.MainThread()
    assert main.call(threading.current_thread) is threading.main_thread()
    with pytest.raises(
        RendererError, match=r"MUJOCO_GL=glfw, macOS draws in the main thread only\. .* leave MUJOCO_GL"
    ):
        threads.run(0, lambda: main.call(threading.current_thread))
    monkeypatch.setattr(renderer, "platforms", lambda: ("glfw",))
    with pytest.raises(RendererError, match="glfw: it draws in the main thread only; set MUJOCO_GL=glfw"):
        threads.run(0, lambda: renderer.open_context(16, 16))


def run_script(code: str) -> subprocess.CompletedProcess[str]:
    root = Path(vlm2vla_sim.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=root,
        check=False,
    )


DROPPED = """
import os, sys
from vlm2vla_sim.envs.base import WidowXEnv
env = WidowXEnv("stack_cube", image_size=(16, 16))
env.reset(seed=0)
"""


@pytest.mark.parametrize("ending", ["", "env.close()", "del env", "raise SystemExit(0)"])
def test_a_process_ends_whether_or_not_its_environment_is_closed(ending):
    done = run_script(DROPPED + ending)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="this platform does not fork")
@pytest.mark.parametrize("ending", ["env.close()", "del env", "sys.exit(0)"])
def test_a_forked_process_ends_too(ending):
    """The thread that draws does not exist in it: nothing there may wait for it."""
    # Python 3.12 and newer warn of a fork beside threads, which is what is tested here.
    code = f"""{DROPPED}
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
pid = os.fork()
if pid == 0:
    {ending}
    sys.exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = run_script(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What stands around an environment.


def test_a_vector_is_made_used_and_closed_in_a_thread_each(threads):
    def play(run: Callable[[int, Callable[[], Any]], Any]) -> bytes:
        env = run(0, lambda: make_vec("vlm2vla/WidowXStackCube-v0", 2, mode="sync", image_size=SIZE))
        run(1, lambda: env.reset(seed=0))
        observation = run(2, lambda: env.step(np.stack(MOVES)))[0]
        run(0, env.close)
        return observation["pixels"]["primary"].tobytes()

    assert play(threads.run) == play(lambda _, job: job())


def test_an_episode_with_its_video_runs_in_another_thread_than_its_environment(threads, tmp_path):
    env = threads.run(0, lambda: gym.make("vlm2vla/WidowXStackCube-v0", image_size=SIZE, max_episode_steps=6))
    run_episode(env, "scripted", videos=tmp_path / "here")
    there = threads.run(1, lambda: run_episode(env, "scripted", videos=tmp_path / "there"))
    assert (there.outcome, there.reason) == (Outcome.FAILURE, ""), "six steps are too few"
    videos = [
        VideoFrames(tmp_path / folder / there.video.split("/")[1], first=0, count=7, fps=CONTROL_HZ)
        for folder in ("here", "there")
    ]
    for video in videos:
        video.check()
    assert all(np.array_equal(*pair) for pair in zip(*videos, strict=True))
    threads.run(2, env.close)
