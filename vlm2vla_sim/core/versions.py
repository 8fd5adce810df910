"""Which code made a result: versions of what is loaded, and the commit when running from a checkout.

Without it two runs that differ cannot be told apart a month later: physics is bit-identical within one version of the
simulator and not between two.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import vlm2vla_sim

WATCHED = {
    "numpy": "numpy",
    "gymnasium": "gymnasium",
    "mujoco": "mujoco",
    "sapien": "sapien",
    "mani_skill": "mani-skill",
    "torch": "torch",
    "transformers": "transformers",
    "peft": "peft",
}
"""Module -> distribution. Only a module that is loaded took part in making the result."""


def collect_versions(*, prompts: str = "") -> dict[str, str]:
    """Name -> version of this package, Python, every watched package that is loaded, the prompts, and the commit.

    prompts: `language.prompts.prompts_hash()`, where prompts took part.
    """
    found = {"vlm2vla_sim": vlm2vla_sim.__version__, "python": platform.python_version()}
    for module, distribution in WATCHED.items():
        if module in sys.modules:
            found[module] = distribution_version(distribution) or "unknown"
    if prompts:
        found["prompts"] = prompts[:16]
    commit = git_commit()
    return {**found, "commit": commit} if commit else found


def distribution_version(name: str) -> str | None:
    """The installed version of a distribution; None when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def git_commit() -> str | None:
    """The commit of the checkout this package runs from, "-dirty" after it when files differ; None outside of one."""
    root = Path(vlm2vla_sim.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # No git on this machine, or a checkout too slow to ask: the result is worth having without it.
    return answer.stdout.strip() or None
