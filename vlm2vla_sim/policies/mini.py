"""The policy "mini": the closed loop with the small model that comes with the package. It runs on any CPU.

It is the policy "vlm" with other defaults: the same code loads, prompts, decodes and verifies a 12B model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.vlm import VlmOptions, assemble

WEIGHTS = Path(__file__).parent.parent / "mini" / "weights"
"""Folder of `base` and `adapter`, which `make mini` produces."""


@dataclass(frozen=True)
class MiniOptions(VlmOptions):
    """The options of "vlm", with the defaults of the embedded model."""

    model: str = str(WEIGHTS / "base")
    adapter: str = str(WEIGHTS / "adapter")
    sampling: str = "greedy"
    state: bool = True
    commanded_state: bool = True
    grounded_plan: bool = True
    dtype: str = "float32"
    threads: int = 1
    """torch threads. On a busy machine two threads wait for each other: 5 s per cycle instead of 0.8 s."""

    def __post_init__(self) -> None:
        if self.model == str(WEIGHTS / "base") and not Path(self.model).is_dir():
            raise SettingError(f"The weights of the policy 'mini' are not in {WEIGHTS}; make them with `make mini`.")
        super().__post_init__()


def make(context: PolicyContext) -> Policy:
    """The factory behind "mini" in `policies.POLICIES`."""
    return assemble(MiniOptions(**context.options), context)  # type: ignore[arg-type] # checked by the options


FACTORY = PolicyFactory(make, options=MiniOptions)
"""The policy "mini"."""
