"""Vector environments that are safe to start after an image was rendered.

Gymnasium's `AsyncVectorEnv` forks on Linux by default (Python below 3.14), and a process forked after OpenGL was used
hangs at its first image (measured with EGL and OSMesa). `make_vec` starts its workers with "forkserver" instead.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from vlm2vla_sim.errors import EpisodeError, SettingError, unknown_name

MODES = ("async", "sync")


def make_vec(
    env_id: str,
    num_envs: int = 2,
    *,
    mode: str = "async",
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    wrappers: tuple[Callable[[gym.Env], gym.Env], ...] = (),
    **options: Any,
) -> VectorEnv:
    """Make a vector of `num_envs` environments.

    Args:
        env_id: id of the environment, for example "vlm2vla/WidowXCarrotOnPlate-v0".
        num_envs: how many.
        mode: "async" for a process each, "sync" for all of them in this process. A script that uses "async" must have
            an `if __name__ == "__main__":` guard around it, because every process imports the script.
        autoreset_mode: when a new episode starts, see `gymnasium.vector.AutoresetMode`.
        wrappers: applied to every environment, in this order. With "async" they must be picklable.
        options: for `gym.make`, such as `backend` and `image_size`.

    Raises:
        SettingError: "async" in a script without the guard.
    """
    if mode not in MODES:
        raise unknown_name("vector mode", mode, MODES)
    if num_envs < 1:
        raise EpisodeError(f"num_envs is {num_envs}; expected 1 or more.")
    makers = [partial(_make, env_id, wrappers, options)] * num_envs
    if mode == "sync":
        return SyncVectorEnv(makers, autoreset_mode=autoreset_mode)
    line = unguarded_line(sys._getframe(1))
    if line:
        raise SettingError(
            f"make_vec(mode='async') is called at line {line} of {sys.modules['__main__'].__file__}, outside an "
            "`if __name__ == '__main__':` block. Every worker process imports that script and would call make_vec "
            "again. Move the call under such a block, or use mode='sync'."
        )
    return AsyncVectorEnv(makers, context="forkserver", autoreset_mode=autoreset_mode)


def unguarded_line(frame: FrameType | None) -> int:
    """The line of the main script that leads to `frame` and runs again when the script is imported; 0 if none does.

    A new process imports the script under another name. What is inside an `if` that tests `__name__` is skipped then.
    """
    main = sys.modules["__main__"]
    path, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if path is None or (spec is not None and spec.name.endswith("__main__")):
        return 0  # an interactive session, `python -c` or the __main__ of a package: new processes do not import it
    while frame is not None and (frame.f_code.co_name != "<module>" or frame.f_globals is not vars(main)):
        frame = frame.f_back
    if frame is None or not Path(path).is_file():
        return 0
    line = frame.f_lineno
    for node in ast.walk(ast.parse(Path(path).read_bytes())):
        if isinstance(node, ast.If) and node.lineno <= line <= (node.end_lineno or line):
            names = (name.id for name in ast.walk(node.test) if isinstance(name, ast.Name))
            if "__name__" in names:
                return 0
    return line


def _make(env_id: str, wrappers: tuple[Callable[[gym.Env], gym.Env], ...], options: dict[str, Any]) -> gym.Env:
    # The package is named, so that a new process imports it and thereby registers the id.
    env = gym.make(env_id if ":" in env_id else f"vlm2vla_sim:{env_id}", **options)
    for wrapper in wrappers:
        env = wrapper(env)
    return env
