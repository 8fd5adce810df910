"""Latency of a step and the observation after it on a mock robot server over loopback, and episodes at 5 Hz.

    python benchmarks/robot_wire.py [--backend bridge] [--steps 200] [--episodes 2] [--json]

First part: a mock server that replies at once, with a camera of 480 x 640; the time of step plus observation as the
client measures it, without the waiting for 5 Hz; then the same without what the twin's physics and drawing took of it.
Second part: the scripted policy at 5 Hz on the wall clock, against a mock server whose steps and observations take as
long as the real server's (0.1 s, 0.08 s). The server is a process of its own, as the robot's is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np

import vlm2vla_sim
from vlm2vla_sim.envs.bridge.mock.server import MockServer as MockBridgeServer
from vlm2vla_sim.envs.manipulator_gym.mock.server import MockServer as MockManipulatorServer
from vlm2vla_sim.envs.tasks import get_task

TASK = "carrot_on_plate"
SERVERS: dict[str, Any] = {"bridge": MockBridgeServer, "manipulator_gym": MockManipulatorServer}


def serve_here(connection: Any, stop: Any, spent: Any, backend: str, options: dict[str, Any]) -> None:
    """Serve a mock robot in this process; `spent` adds up the seconds of its physics and drawing."""
    server = SERVERS[backend](get_task(TASK), port=0, truth_port=0, **options)

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent.value += time.perf_counter() - started

        return call

    twin = server.robot._twin
    twin.render, twin.run = timed(twin.render), timed(twin.run)  # type: ignore[method-assign]
    connection.send((server.port, server.truth_address))
    server.serve(stop.is_set)


@contextmanager
def serve(backend: str, **options: Any) -> Iterator[tuple[int, str, Any]]:
    """A mock server in a process of its own: its port, the address of its ground truth, the seconds it has spent."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    stop, spent = processes.Event(), processes.Value("d", 0.0, lock=False)
    process = processes.Process(target=serve_here, args=(there, stop, spent, backend, options))
    process.start()
    try:
        port, truth = here.recv()
        yield port, truth, spent
    finally:
        stop.set()
        process.join()


def measure_latency(backend: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """[ms] of step plus look, as a client sees them, with the twin's physics and rendering, and without."""
    whole, inside = [], []
    with serve(backend, clock="lockstep") as (port, _, spent):
        env = gym.make(get_task(TASK).env_id, backend=backend, port=port, period=0.0, max_episode_steps=steps + 10)
        env.reset(seed=0)
        rng = np.random.default_rng(0)
        for _ in range(steps):
            action = np.concatenate([rng.uniform(-0.01, 0.01, 3), np.zeros(3), [1.0]]).astype(np.float32)
            before, started = spent.value, time.perf_counter()
            env.step(action)
            seconds = time.perf_counter() - started
            whole.append(1000 * seconds)
            inside.append(1000 * (seconds - (spent.value - before)))
        env.close()
    return np.array(whole), np.array(inside)


def run_episodes(backend: str, count: int) -> tuple[int, float]:
    """Successes at 5 Hz on the wall clock, and the mean control step [s]."""
    good, seconds, steps = 0, 0.0, 0
    with serve(backend, clock="wall") as (port, truth, _):
        env = gym.make(get_task(TASK).env_id, backend=backend, port=port, truth=truth)
        for episode in range(count):
            result = vlm2vla_sim.run_episode(env, "scripted", episode_id=episode)
            good += bool(result.success_at_end)
            seconds, steps = seconds + result.seconds, steps + result.steps
            print(f"  episode {episode}: {result.outcome.value} {result.reason}", file=sys.stderr)
        env.close()
    # A reset takes about 4.2 s of an episode; the rest are steps.
    return good, (seconds - 4.2 * count) / max(steps, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Latency of the robot's wire, and episodes at 5 Hz.")
    parser.add_argument("--backend", choices=tuple(SERVERS), default="bridge", help="whose server is played")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    args = parser.parse_args()
    whole, wire = measure_latency(args.backend, args.steps)
    good, period = run_episodes(args.backend, args.episodes) if args.episodes else (0, float("nan"))
    rows = [
        ("step + look, wire and codec [ms]", f"{np.percentile(wire, 50):.1f}", f"{np.percentile(wire, 99):.1f}"),
        (
            "the same with the twin's physics and rendering [ms]",
            f"{np.percentile(whole, 50):.1f}",
            f"{np.percentile(whole, 99):.1f}",
        ),
    ]
    print(f"| over loopback, {args.steps} steps, 480 x 640 | p50 | p99 |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    if args.episodes:
        print(f"\nAt 5 Hz on the wall clock: {good} of {args.episodes} episodes, one control step every {period:.3f} s")
    if args.json:
        print(
            json.dumps(
                {
                    "wire_p50_ms": float(np.percentile(wire, 50)),
                    "wire_p99_ms": float(np.percentile(wire, 99)),
                    "whole_p50_ms": float(np.percentile(whole, 50)),
                    "successes": good,
                    "episodes": args.episodes,
                }
            )
        )


if __name__ == "__main__":
    main()
