"""vlm2vla_sim: a vision-language model that speaks its actions moves a WidowX, in simulation and for real.

Importing it registers the environments with Gymnasium and does nothing else: no simulator, no renderer, no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vlm2vla_sim.envs.registration import register_environments

if TYPE_CHECKING:
    from vlm2vla_sim.envs.base import WidowXEnv
    from vlm2vla_sim.envs.tasks import TASKS
    from vlm2vla_sim.envs.vector import make_vec
    from vlm2vla_sim.envs.wrappers import LanguageActions
    from vlm2vla_sim.evaluation.episode import run_episode
    from vlm2vla_sim.evaluation.suite import run_suite
    from vlm2vla_sim.language.formats import FORMATS, get_format
    from vlm2vla_sim.policies import POLICIES, PolicyContext, load_policy
    from vlm2vla_sim.types import ActionChunk, Decision

__version__ = "0.1.0"

_HOMES = {
    "ActionChunk": "vlm2vla_sim.types",
    "Decision": "vlm2vla_sim.types",
    "FORMATS": "vlm2vla_sim.language.formats",
    "LanguageActions": "vlm2vla_sim.envs.wrappers",
    "POLICIES": "vlm2vla_sim.policies",
    "PolicyContext": "vlm2vla_sim.policies",
    "TASKS": "vlm2vla_sim.envs.tasks",
    "WidowXEnv": "vlm2vla_sim.envs.base",
    "get_format": "vlm2vla_sim.language.formats",
    "load_policy": "vlm2vla_sim.policies",
    "make_vec": "vlm2vla_sim.envs.vector",
    "run_episode": "vlm2vla_sim.evaluation.episode",
    "run_suite": "vlm2vla_sim.evaluation.suite",
}
"""Public name -> the module it lives in, imported at first use so that importing the package stays quick."""

__all__ = [
    "FORMATS",
    "POLICIES",
    "TASKS",
    "ActionChunk",
    "Decision",
    "LanguageActions",
    "PolicyContext",
    "WidowXEnv",
    "__version__",
    "get_format",
    "load_policy",
    "make_vec",
    "run_episode",
    "run_suite",
]

register_environments()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlm2vla_sim' has no attribute {name!r}. Public names: {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
