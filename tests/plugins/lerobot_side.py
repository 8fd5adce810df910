"""Runs in an interpreter that has the package lerobot: plays a tiny random ACT by lerobot-eval, and by our own loop.

Prints one line of JSON. It is a script, because this package's tests run where lerobot is not installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.factory import make_env
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.scripts import lerobot_eval

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.policies.spec import PolicySpec

HEIGHT, WIDTH = 96, 128
CAMERA = "observation.images.image_0"
EPISODE = 1000 % 24
"""Of lerobot-eval's first seed."""


def save_policy(folder: Path, *, state: int = 7) -> None:
    """A random ACT of a few thousand numbers whose actions are small, with LeRobot's processors."""
    torch.manual_seed(0)
    config = ACTConfig(
        input_features={
            "observation.state": PolicyFeature(type=FeatureType.STATE, shape=(state,)),
            CAMERA: PolicyFeature(type=FeatureType.VISUAL, shape=(3, HEIGHT, WIDTH)),
        },
        output_features={"action": PolicyFeature(type=FeatureType.ACTION, shape=(7,))},
        device="cpu",
        chunk_size=8,
        n_action_steps=4,
        dim_model=32,
        n_heads=2,
        dim_feedforward=64,
        n_encoder_layers=1,
        n_decoder_layers=1,
        use_vae=False,
        pretrained_backbone_weights=None,
        push_to_hub=False,
    )
    stats = {
        "observation.state": {"mean": torch.zeros(state), "std": torch.ones(state)},
        "action": {"mean": torch.tensor([0.0] * 6 + [0.5]), "std": torch.full((7,), 0.01)},
        CAMERA: {"mean": torch.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.3)},
    }
    for part in (ACTPolicy(config), *make_pre_post_processors(config, dataset_stats=stats)):
        part.save_pretrained(folder)


def evaluate(out: Path, *arguments: str) -> tuple[dict[str, Any], list[list[float]]]:
    """What lerobot-eval writes, and the actions that it sent."""
    sent: list[list[float]] = []
    step = WidowXEnv.step

    def record(env: WidowXEnv, action: np.ndarray) -> Any:
        sent.append(np.asarray(action).tolist())
        return step(env, action)

    WidowXEnv.step = record
    sys.argv = [
        "lerobot-eval",
        *("--env.type=vlm2vla", "--env.task=carrot_on_plate", f"--env.image_height={HEIGHT}"),
        *(f"--env.image_width={WIDTH}", "--eval.n_episodes=1", "--eval.batch_size=1", f"--output_dir={out}"),
        *arguments,
    ]
    lerobot_eval.main()
    WidowXEnv.step = step
    return json.loads((out / "eval_info.json").read_text()), sent


def ours(folder: Path, **options: Any) -> Any:
    """The same episode with the policy "lerobot" in this package's own loop."""
    env = WidowXEnv("carrot_on_plate", image_size=(HEIGHT, WIDTH))
    spec = PolicySpec("lerobot", options={"model": str(folder), **options})
    return run_episode(env, spec, episode_id=EPISODE)


def main(root: Path) -> None:
    """See the module's text."""
    save_policy(root / "act")
    find = "--env.discover_packages_path=vlm2vla_sim.lerobot"
    info, sent = evaluate(root / "out", f"--policy.path={root / 'act'}", find)
    result = ours(root / "act")
    deltas = [row for decision in result.decisions for row in decision["deltas"]]
    save_policy(root / "wide", state=8)
    try:
        refused = str(ours(root / "wide").reason)
    except ValueError as error:
        refused = str(error)
    wide = ours(root / "wide", convention="bridge")
    text, held = evaluate(root / "text", "--policy.type=vlm2vla", "--policy.policy=hold", find)
    several = ""
    try:
        from vlm2vla_sim.lerobot.env import Vlm2VlaEnv

        made = make_env(Vlm2VlaEnv(task="all", image_height=48, image_width=64))
        several = str(len(made["vlm2vla"]))
    except ValueError as error:
        several = str(error)
    values = {
        "success": info["per_task"][0]["metrics"]["successes"],
        "video": Path(info["overall"]["video_paths"][0]).stat().st_size,
        "sent": sent,
        "ours": deltas,
        "outcome": result.outcome.value,
        "provenance": result.provenance,
        "refused": refused,
        "wide": wide.outcome.value,
        "held": held,
        "text_success": text["per_task"][0]["metrics"]["successes"],
        "several": several,
    }
    print(json.dumps(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
