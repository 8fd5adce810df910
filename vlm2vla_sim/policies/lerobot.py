"""The policy "lerobot": a policy that LeRobot saved (ACT, diffusion, SmolVLA), with its processors, in this process.

It answers control step by control step, as in `lerobot-eval`: LeRobot's own queue keeps the rest of a chunk. Where
LeRobot's packages do not go with this package's, run `vlm2vla serve --policy lerobot` in LeRobot's environment and the
policy "openpi" here.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.errors import MissingExtraError, SettingError
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.models.digests import weights_digest
from vlm2vla_sim.policies.options import check_types
from vlm2vla_sim.policies.remote.conventions import Convention, find_convention
from vlm2vla_sim.policies.remote.policy import RemotePolicy
from vlm2vla_sim.policies.remote.wire import PROVENANCE_KEY, Reply, Request

STATE, ACTION = "observation.state", "action"


@dataclass(frozen=True)
class LeRobotOptions:
    """Options of the policy "lerobot"."""

    model: str = ""
    """The folder that LeRobot saved: config.json, model.safetensors, the processors."""
    convention: str = "vlm2vla"
    """Of its states and actions: "vlm2vla" where it was trained on data sets of this package, "bridge" on LeRobot's
    copies of BridgeData, "pi0-bridge" for pi0 as SimplerEnv asks it; or your own as package.module:NAME."""
    device: str = "cpu"
    """Where it computes: "cpu", "cuda"."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.model:
            raise SettingError(
                "The policy 'lerobot' needs the folder that LeRobot saved: --model .../pretrained_model."
            )
        find_convention("lerobot", self.convention)


class LeRobotWire:
    """A policy of LeRobot's, asked as a server is (`remote.wire.Wire`)."""

    def __init__(self, options: LeRobotOptions, convention: Convention) -> None:
        """Load it; MissingExtraError without lerobot, SettingError for one that needs what this package cannot give."""
        folder = Path(options.model)
        if not (folder / "config.json").is_file():
            raise SettingError(
                f"There is no policy of LeRobot in {folder}: it has no config.json. Name the folder pretrained_model "
                "of a checkpoint."
            )
        config, self._policy, self._before, self._after = _load(folder, options.device)
        self._camera = _check_features(config, convention)
        self.image_size = _image_size(config, self._camera)
        self._random: Any = None
        self.greeting = {
            PROVENANCE_KEY: {
                "model": weights_digest(folder),
                "type": config.type,
                "lerobot": importlib.metadata.version("lerobot"),
            }
        }

    def start(self, instruction: str, seed: int) -> int:
        """See `Wire.start`. The randomness of a policy comes from the seed, and from nothing else in this process."""
        import torch

        del instruction
        self._policy.reset()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._random = torch.random.get_rng_state()
        return 0

    def ask(self, request: Request) -> Reply:
        """See `Wire.ask`."""
        import torch

        image = torch.from_numpy(np.ascontiguousarray(request.image).transpose(2, 0, 1).copy()).float() / 255
        batch: dict[str, Any] = {"task": [request.instruction]}
        if self._camera:
            batch[self._camera] = image[None]
        if request.proprio is not None:
            batch[STATE] = torch.from_numpy(request.proprio.copy())[None]
        with torch.random.fork_rng(), torch.inference_mode():
            torch.random.set_rng_state(self._random)
            action = self._after(self._policy.select_action(self._before(batch)))
            self._random = torch.random.get_rng_state()
        return Reply(action.cpu().numpy(), retries=0)

    def close(self) -> None:
        """Nothing is open."""


def _load(folder: Path, device: str) -> tuple[Any, Any, Any, Any]:
    """The config, the policy and its two processors."""
    try:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The policy 'lerobot' needs the package {error.name}: pip install lerobot. Its versions may not go with "
            "those here; then run `vlm2vla serve --policy lerobot` in an environment of its own."
        ) from error
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["type"]
        config: Any = PreTrainedConfig.from_pretrained(folder)
        config.device, config.pretrained_path = device, folder
        policy = get_policy_class(kind).from_pretrained(folder, config=config)
        before, after = make_pre_post_processors(
            config, pretrained_path=str(folder), preprocessor_overrides={"device_processor": {"device": device}}
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        raise SettingError(f"LeRobot cannot load the policy in {folder} ({type(error).__name__}: {why}).") from error
    return config, policy.eval(), before, after


def _check_features(config: Any, convention: Convention) -> str:
    """The name of its camera, empty for none; SettingError for inputs or outputs that do not fit."""
    inputs, outputs = config.input_features or {}, config.output_features or {}
    cameras = list(config.image_features)
    others = [name for name in inputs if name not in (*cameras, STATE)]
    if len(cameras) > 1 or others:
        raise SettingError(
            f"The policy takes {', '.join(inputs)}; this package gives one camera and {STATE}. Train it without the "
            "others."
        )
    for name, found, expected in (
        (STATE, inputs.get(STATE), convention.proprio_length),
        (ACTION, outputs.get(ACTION), convention.width),
    ):
        if (found is not None and tuple(found.shape) != (expected,)) or (found is None and name == ACTION):
            shape = None if found is None else tuple(found.shape)
            raise SettingError(
                f"The policy's {name} has shape {shape}; the convention ({convention.about}) has ({expected},). Name "
                "another one (--convention)."
            )
    return cameras[0] if cameras else ""


def _image_size(config: Any, camera: str) -> tuple[int, int] | None:
    """(height, width) of the images that it was trained on; None without a camera."""
    return tuple(config.image_features[camera].shape[1:]) if camera else None


def _make(context: PolicyContext) -> Policy:
    options = LeRobotOptions(**context.options)  # type: ignore[arg-type]  # checked by LeRobotOptions itself
    convention = find_convention("lerobot", options.convention)
    wire = LeRobotWire(options, convention)
    if convention.image_size is None:
        convention = dataclasses.replace(convention, image_size=wire.image_size)
    return RemotePolicy(wire, convention, context.robot, server="")


FACTORY = PolicyFactory(_make, options=LeRobotOptions)
"""The policy "lerobot"."""
