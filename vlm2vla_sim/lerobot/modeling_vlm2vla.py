"""LeRobot's policy "vlm2vla": asks a policy of this package, and gives its motion control step by control step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from vlm2vla_sim.envs.executor import ControlStep, Executor
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.setup import find_format
from vlm2vla_sim.lerobot.configuration_vlm2vla import Vlm2VlaConfig
from vlm2vla_sim.policies import PolicyContext, load_policy, needs_truth
from vlm2vla_sim.policies.base import Policy, decide
from vlm2vla_sim.policies.spec import PolicySpec


class Vlm2VlaPolicy(PreTrainedPolicy):
    """One policy of this package for each environment of the batch."""

    config_class = Vlm2VlaConfig
    name = "vlm2vla"

    def __init__(self, config: Vlm2VlaConfig, **_: Any) -> None:
        """Find the policy; SettingError for one that reads the simulator's truth. _: statistics of a data set."""
        super().__init__(config)
        config.validate_features()
        if needs_truth(config.policy):
            raise SettingError(
                f"The policy {config.policy!r} reads the simulator's ground truth, which LeRobot does not pass on. Use "
                "another policy."
            )
        options = config.policy_options()
        self._context = PolicyContext(
            task="",
            steps=config.steps,
            action_format=find_format(PolicySpec(config.policy, config.action_format, options=options)),
            options=options,
        )
        self._camera = f"observation.images.{config.camera}"
        self._policies: list[Policy] = [load_policy(config.policy, self._context)]  # an error comes now, not later
        self._runs: list[_Run] = []
        self._episodes = 0

    def reset(self) -> None:
        """Start an episode in every environment."""
        self._runs = []
        self._episodes += 1

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, 7) float32, the next control step in each environment."""
        states = batch["observation.state"].float().cpu().numpy()
        images = batch[self._camera].float().cpu().numpy()
        while len(self._policies) < len(states):
            self._policies.append(load_policy(self.config.policy, self._context))
        if not self._runs:
            seeds = (self._episodes * 1000 + number for number in range(len(states)))
            pairs = zip(self._policies, batch["task"], seeds, strict=False)
            self._runs = [_Run(policy, task, seed) for policy, task, seed in pairs]
        steps = [run.step(*seen) for run, *seen in zip(self._runs, states, images, strict=True)]
        return torch.from_numpy(np.stack(steps)).to(batch["observation.state"].device)

    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, 1, 7): `select_action`, because plans of several environments differ in length."""
        return self.select_action(batch)[:, None]

    def get_optim_params(self) -> dict[str, Any]:
        """Nothing is trained."""
        return {}

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any] | None]:
        """SettingError: it has nothing to train."""
        raise SettingError("The policy 'vlm2vla' has no weights to train in LeRobot; use `vlm2vla train`.")


class _Run:
    """An episode of one environment."""

    def __init__(self, policy: Policy, instruction: str, seed: int) -> None:
        policy.reset(instruction, seed=seed)
        self._policy, self._executor = policy, Executor()
        self._steps: Iterator[ControlStep] = iter(())
        self._started = self._done = False

    def step(self, state: np.ndarray, image: np.ndarray) -> np.ndarray:
        """(7,) float32. state: (7,); image: (3, H, W) of 0 .. 1."""
        if not self._started:
            self._executor.reset(state)
            self._started = True
        found = next(self._steps, None)
        if found is None and not self._done:
            pixels = np.ascontiguousarray((image * 255).round().astype(np.uint8).transpose(1, 2, 0))
            observation = {"pixels": {"primary": pixels}, "agent_pos": state.astype(np.float32)}
            decision = decide(self._policy, observation)
            self._done = decision is None
            if decision is not None:
                self._steps = self._executor.steps(decision.chunk)
                found = next(self._steps, None)
        return self._executor.hold() if found is None else found.action
