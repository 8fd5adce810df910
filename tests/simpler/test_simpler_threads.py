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


def test_an_image_is_composed_by_one_thread_and_a_model_keeps_its_own(
    make_env: Callable[..., WidowXEnv], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    env = make_env("carrot_on_plate")
    isin, threads = torch.isin, []

    def counted(*args: Any, **options: Any) -> Any:
        threads.append(torch.get_num_threads())
        return isin(*args, **options)

    monkeypatch.setattr(torch, "isin", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        env.reset(seed=0, options={"episode_id": 3})
        env.step(MOVES[0])
        assert threads
        assert set(threads) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
