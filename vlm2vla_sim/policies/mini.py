"""The policy "mini": the closed loop around the small model that comes with the package, on any CPU.

It is the policy "vlm" with other defaults, nothing else: the model that a newcomer watches in the first minute is
loaded, prompted, decoded and judged by the code that does it for a model of twelve billion weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.vlm import VlmOptions, assemble

WEIGHTS = Path(__file__).parent.parent / "mini" / "weights"
"""Folders `base` and `adapter`, as `make mini` leaves them."""


@dataclass(frozen=True)
class MiniOptions(VlmOptions):
    """The options of "vlm", with the package's own model."""

    model: str = str(WEIGHTS / "base")
    adapter: str = str(WEIGHTS / "adapter")
    sampling: str = "greedy"
    state: bool = True
    commanded: bool = True
    located: bool = True
    dtype: str = "float32"
    threads: int = 1
    """Two wait for each other as soon as the machine has other work: 5 s a cycle instead of 0.8."""

    def __post_init__(self) -> None:
        if self.model == str(WEIGHTS / "base") and not Path(self.model).is_dir():
            raise SettingError(f"The weights of 'mini' are not in {WEIGHTS}; make them with `make mini`.")
        super().__post_init__()


def make(context: PolicyContext) -> Policy:
    """The factory behind "mini" in `policies.POLICIES`."""
    return assemble(MiniOptions(**context.options), context)  # type: ignore[arg-type] # checked by the options


FACTORY = PolicyFactory(make, options=MiniOptions)
"""The policy "mini"."""
