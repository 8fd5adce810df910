"""The SIMPLER scenes may be used by threads in turns; images are those of one thread, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from vlm2vla_sim.envs.base import WidowXEnv

pytestmark = pytest.mark.simpler
MOVES = (np.array([0.02, 0.01, -0.03, 0, 0, 0, 1], np.float32), np.array([0, 0, -0.03, 0, 0, 0.1, 0], np.float32))


def images(env: WidowXEnv, run: Callable[[Callable[[], Any]], Any]) -> list[bytes]:
    seen = [run(lambda: env.reset(seed=0, options={"episode_id": 3}))[0]]
    seen += [run(lambda move=move: env.step(move))[0] for move in MOVES]
    return [one["pixels"]["primary"].tobytes() for one in seen]


def test_made_used_and_closed_in_a_thread_each(true_scenes: None) -> None:
    pools = [ThreadPoolExecutor(1) for _ in range(3)]
    turn = iter(range(1000))

    def run(job: Callable[[], Any]) -> Any:
        return pools[next(turn) % 3].submit(job).result(timeout=300)

    env = run(lambda: WidowXEnv("carrot_on_plate", backend="simpler"))
    seen = images(env, run)
    run(env.close)
    one = WidowXEnv("carrot_on_plate", backend="simpler")
    assert images(one, lambda job: job()) == seen
    one.close()
    for pool in pools:
        pool.shutdown()
