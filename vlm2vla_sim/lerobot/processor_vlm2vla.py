"""What LeRobot does before and after the policy "vlm2vla": nothing, because it takes and gives physical units."""

from __future__ import annotations

from typing import Any

from lerobot.processor import DeviceProcessorStep, PolicyProcessorPipeline, RenameObservationsProcessorStep
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action

from vlm2vla_sim.lerobot.configuration_vlm2vla import Vlm2VlaConfig


def make_vlm2vla_pre_post_processors(config: Vlm2VlaConfig, dataset_stats: Any = None, **_: Any) -> tuple[Any, Any]:
    """The two pipelines, by the name that LeRobot looks for. dataset_stats: not used."""
    del config, dataset_stats
    before = [RenameObservationsProcessorStep(rename_map={}), DeviceProcessorStep(device="cpu")]
    return (
        PolicyProcessorPipeline(steps=before, name="policy_preprocessor"),
        PolicyProcessorPipeline(
            steps=[],
            name="policy_postprocessor",
            to_transition=policy_action_to_transition,
            to_output=transition_to_policy_action,
        ),
    )
