"""Why an episode did not succeed, as far as its result tells, in words for the page."""

from __future__ import annotations

from vlm2vla_sim.evaluation.failures import LABELS
from vlm2vla_sim.evaluation.report.runs import Episode
from vlm2vla_sim.types import EpisodeResult, Outcome

NOT_KNOWN = "cause_not_known"
"""A failure whose result names no cause; how far it got follows after a colon, where that is known."""
OTHERS = {
    NOT_KNOWN: "cause not known",
    Outcome.ERROR.value: "error of simulator, link or code",
    Outcome.ABORTED.value: "stopped by a person",
    Outcome.UNKNOWN.value: "outcome not known",
}


def cause(episode: Episode) -> str:
    """The key of the cause; empty for a success. What is not scored has its outcome in place of a cause."""
    outcome = episode.result.outcome
    if outcome is Outcome.SUCCESS:
        return ""
    if outcome is not Outcome.FAILURE:
        return outcome.value
    if episode.result.failure:
        return episode.result.failure
    far = got_as_far(episode.result)
    return f"{NOT_KNOWN}: {far}" if far else NOT_KNOWN


def label(key: str) -> str:
    """The cause `key` in words."""
    if key.startswith(f"{NOT_KNOWN}: "):
        return f"{OTHERS[NOT_KNOWN]}; {key.removeprefix(f'{NOT_KNOWN}: ')}"
    return LABELS.get(key) or OTHERS.get(key) or key.replace("_", " ")


def got_as_far(result: EpisodeResult) -> str:
    """The furthest that the episode is known to have come; empty where nothing is known."""
    reached = (
        (result.success_at_end, "succeeded at the last step"),
        (result.success_once, "succeeded at some step, not at the last"),
        (result.on_target, "object on the target at the end"),
        (result.grasped, "grasped the object"),
        (result.moved_correct_object, "moved the object, did not grasp it"),
    )
    for holds, words in reached:
        if holds:
            return words
    known = [holds for holds, _ in reached if holds is not None]
    return "did not move the object" if result.moved_correct_object is False and known else ""
