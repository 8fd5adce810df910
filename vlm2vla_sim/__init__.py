"""vlm2vla_sim: Gymnasium environments for vision-language models that write WidowX actions as text.

Importing it registers the environments with Gymnasium and does nothing else: no simulator, no renderer, no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vlm2vla_sim.envs.registration import register_environments

if TYPE_CHECKING:
    from vlm2vla_sim.envs.backends import BACKENDS, Backend
    from vlm2vla_sim.envs.base import WidowXEnv
    from vlm2vla_sim.envs.cameras import Camera
    from vlm2vla_sim.envs.tasks import TASKS, Task
    from vlm2vla_sim.envs.vector import make_vec
    from vlm2vla_sim.envs.wrappers import LanguageActions
    from vlm2vla_sim.errors import Vlm2VlaError
    from vlm2vla_sim.evaluation.episode import run_episode
    from vlm2vla_sim.evaluation.metrics import Metric
    from vlm2vla_sim.evaluation.settings import RunSettings
    from vlm2vla_sim.evaluation.suite import run_policies, run_suite
    from vlm2vla_sim.evaluation.with_suite import with_suite
    from vlm2vla_sim.language.formats import FORMATS, ActionFormat, get_format
    from vlm2vla_sim.policies import POLICIES, PolicyContext, PolicyFactory, load_policy
    from vlm2vla_sim.policies.base import Policy, TextModel, Verifier
    from vlm2vla_sim.policies.spec import PolicySpec
    from vlm2vla_sim.types import ActionChunk, Decision, EpisodeResult, Outcome

__version__ = "0.1.0"

_HOMES = {
    "ActionChunk": "vlm2vla_sim.types",
    "ActionFormat": "vlm2vla_sim.language.formats",
    "BACKENDS": "vlm2vla_sim.envs.backends",
    "Backend": "vlm2vla_sim.envs.backends",
    "Camera": "vlm2vla_sim.envs.cameras",
    "Decision": "vlm2vla_sim.types",
    "EpisodeResult": "vlm2vla_sim.types",
    "FORMATS": "vlm2vla_sim.language.formats",
    "LanguageActions": "vlm2vla_sim.envs.wrappers",
    "Metric": "vlm2vla_sim.evaluation.metrics",
    "Outcome": "vlm2vla_sim.types",
    "POLICIES": "vlm2vla_sim.policies",
    "Policy": "vlm2vla_sim.policies.base",
    "PolicyContext": "vlm2vla_sim.policies",
    "PolicyFactory": "vlm2vla_sim.policies",
    "PolicySpec": "vlm2vla_sim.policies.spec",
    "RunSettings": "vlm2vla_sim.evaluation.settings",
    "TASKS": "vlm2vla_sim.envs.tasks",
    "Task": "vlm2vla_sim.envs.tasks",
    "TextModel": "vlm2vla_sim.policies.base",
    "Verifier": "vlm2vla_sim.policies.base",
    "Vlm2VlaError": "vlm2vla_sim.errors",
    "WidowXEnv": "vlm2vla_sim.envs.base",
    "get_format": "vlm2vla_sim.language.formats",
    "load_policy": "vlm2vla_sim.policies",
    "make_vec": "vlm2vla_sim.envs.vector",
    "run_episode": "vlm2vla_sim.evaluation.episode",
    "run_policies": "vlm2vla_sim.evaluation.suite",
    "run_suite": "vlm2vla_sim.evaluation.suite",
    "with_suite": "vlm2vla_sim.evaluation.with_suite",
}
"""Public name -> the module it lives in, imported at first use so that importing the package stays quick."""

__all__ = [
    "BACKENDS",
    "FORMATS",
    "POLICIES",
    "TASKS",
    "ActionChunk",
    "ActionFormat",
    "Backend",
    "Camera",
    "Decision",
    "EpisodeResult",
    "LanguageActions",
    "Metric",
    "Outcome",
    "Policy",
    "PolicyContext",
    "PolicyFactory",
    "PolicySpec",
    "RunSettings",
    "Task",
    "TextModel",
    "Verifier",
    "Vlm2VlaError",
    "WidowXEnv",
    "__version__",
    "get_format",
    "load_policy",
    "make_vec",
    "run_episode",
    "run_policies",
    "run_suite",
    "with_suite",
]

register_environments()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlm2vla_sim' has no attribute {name!r}. Public names: {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
