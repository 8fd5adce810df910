"""The vendor's driver package, and its errors in sentences."""

from __future__ import annotations

from typing import Any

from vlm2vla_sim.envs.robot_link.server_identity import ROBOT_FAULT
from vlm2vla_sim.errors import LinkLostError, missing_extra


def driver_package() -> Any:
    """The module `trossen_arm`; MissingExtraError without it."""
    try:
        import trossen_arm
    except ImportError as error:
        raise missing_extra("The driver of the WidowX AI", "trossen-arm", "widowx-ai") from error
    return trossen_arm


def explain(error: Exception, host: str) -> LinkLostError:
    """What an error of the driver means: the controller at `host` is in error ("robot_fault"), or was lost."""
    text = " ".join(str(error).split("Please refer")[0].split()).rstrip(".") + "."
    names = [sentence for state, sentence in driver_package().ERROR_INFORMATION.items() if int(state) != 0]
    if any(sentence in text for sentence in names):
        return LinkLostError(
            f"The controller at {host} is in error: {text} Check the arm; the next reset clears the error.",
            reason=ROBOT_FAULT,
        )
    return LinkLostError(f"The driver lost the controller at {host}: {text}")
