"""Options of LeRobot's policy "vlm2vla". The module names follow LeRobot's rule: configuration_, modeling_, processor_.

`lerobot-eval --policy.type=vlm2vla --policy.policy=openpi --policy.options="server=ws://127.0.0.1:8000"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lerobot.configs.policies import PreTrainedConfig

from vlm2vla_sim.errors import SettingError


@PreTrainedConfig.register_subclass("vlm2vla")
@dataclass
class Vlm2VlaConfig(PreTrainedConfig):
    """A policy of this package, in this process or on a server of `vlm2vla serve`. It has no weights of its own."""

    policy: str = "openpi"
    """A name of `policies.POLICIES`, or "package.module:NAME"; one that reads the simulator's truth is refused."""
    options: str = ""
    """The policy's options, "NAME=VALUE,NAME=VALUE"."""
    action_format: str = "vlm2vla"
    """How the policy writes its actions."""
    camera: str = "image_0"
    """It sees observation.images.NAME."""
    steps: int = 60
    """Control steps in an episode, for policies that plan by it."""
    push_to_hub: bool = False

    def policy_options(self) -> dict[str, str | int | float | bool]:
        """`options` as values; SettingError for what is no NAME=VALUE."""
        found: dict[str, str | int | float | bool] = {}
        for word in filter(None, self.options.split(",")):
            name, equals, value = word.partition("=")
            if not equals or not name:
                raise SettingError(f"policy.options holds {word!r}; expected NAME=VALUE, separated by commas.")
            found[name.strip()] = _value(value.strip())
        return found

    # What LeRobot asks every policy.

    @property
    def observation_delta_indices(self) -> list[int] | None:
        """No past observations."""
        return None

    @property
    def action_delta_indices(self) -> list[int] | None:
        """Nothing is trained."""
        return None

    @property
    def reward_delta_indices(self) -> list[int] | None:
        """Nothing is trained."""
        return None

    def get_optimizer_preset(self) -> Any:
        """SettingError: it has nothing to train."""
        raise SettingError("The policy 'vlm2vla' has no weights to train in LeRobot; use `vlm2vla train`.")

    def get_scheduler_preset(self) -> Any:
        """None: nothing is trained."""
        return None

    def validate_features(self) -> None:
        """SettingError unless there are the camera and the seven numbers of the state."""
        known = self.input_features or {}
        state = known.get("observation.state")
        if f"observation.images.{self.camera}" not in known or state is None or tuple(state.shape) != (7,):
            raise SettingError(
                f"The policy 'vlm2vla' needs observation.images.{self.camera} and an observation.state of 7 numbers; "
                f"there are {', '.join(known) or 'none'}. Use --env.type=vlm2vla with env.convention=vlm2vla."
            )


def _value(text: str) -> str | int | float | bool:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
