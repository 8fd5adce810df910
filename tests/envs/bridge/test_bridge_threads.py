"""The real arm's environment may be used by threads in turns, and never by two at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from lane import need

need("robot", "zmq", "lz4", "cv2")

from robot_bench import bench  # noqa: E402

from vlm2vla_sim.envs.robot_link.server_identity import Timeouts  # noqa: E402
from vlm2vla_sim.errors import EpisodeError  # noqa: E402

PATIENT = {"timeouts": Timeouts(), "max_frame_age": 30.0, "frame_timeout": 30.0}
"""Threads are what is tested here, and not how soon a busy machine answers."""
MOVE = np.array([0.01, 0, 0, 0, 0, 0, 1], np.float32)


def test_made_reset_stepped_and_closed_in_a_thread_each():
    pools = [ThreadPoolExecutor(1) for _ in range(3)]

    def run(number, job):
        return pools[number].submit(job).result(timeout=120)

    with bench() as stage:
        env = run(0, lambda: stage.env(direct=True, **PATIENT))
        observation, info = run(1, lambda: env.reset(seed=0, options={"episode_id": 0}))
        start = observation["agent_pos"]
        for number in (2, 0, 1, 2):
            observation, _, _, truncated, info = run(number, lambda: env.step(MOVE))
            assert not truncated, info
        assert info["link"] == "ok"
        assert observation["agent_pos"][0] - start[0] > 0.02, "the arm moved forward"
        assert info["is_success"] is False, "the ground truth was asked for in every thread"
        run(0, env.close)
    for pool in pools:
        pool.shutdown()


def test_a_second_step_is_refused_while_one_waits_for_its_answer_and_closing_waits():
    """Both would use one socket: the second request would be sent in the middle of the first, or end the process."""
    with bench() as stage:
        env = stage.env(direct=True, period=1.0, **PATIENT)
        env.reset(seed=0, options={"episode_id": 0})
        env.step(MOVE)
        inside, refused = threading.Event(), []

        def step() -> bool:
            inside.set()
            return env.step(MOVE)[3]  # waits for the rest of a second

        with ThreadPoolExecutor(2) as pool:
            stepping = pool.submit(step)
            assert inside.wait(10)
            while not stepping.done() and not refused:
                try:
                    env.unwrapped.step(MOVE)
                except EpisodeError as error:
                    refused.append(str(error))
            closing = pool.submit(env.close)
            assert stepping.result(30) is False, "the step was carried out to its end"
            closing.result(30)
        assert "step() still runs in another thread" in refused[0]
