"""Few-shot examples of a zero-shot model: a folder of decisions, each a picture with the answer that was right for it.

`examples.jsonl` holds a decision on every line, with these keys: "scene" (the name of its scene), "task" (the
instruction), "picture" (a PNG file of the folder), "state" ((7,) as an observation's `agent_pos`), "sent" ((6,), as the
first six of "state", where the gripper was last sent), "sees", "subtask" and "plan" (the words of the answer), "deltas"
((T, 7) as `ActionChunk.deltas`) and "camera" (the values of a `PinholeCamera`, null where it is not known). The action
is written in the format of the run. `evaluation.zero_shot_examples` records such a folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.core.pinhole import PinholeCamera
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.language.formats.properties import write_action
from vlm2vla_sim.language.zero_shot import Turn
from vlm2vla_sim.language.zero_shot_scene import ZeroShotFacts, describe_state
from vlm2vla_sim.policies.zero_shot.overlay import draw_overlay
from vlm2vla_sim.types import ActionChunk

FILE = "examples.jsonl"
MOST = 12
"""Examples of a prompt."""


def read_examples(folder: Path, action_format: ActionFormat, facts: ZeroShotFacts, *, reasoning: bool) -> list[Turn]:
    """The examples of the scene of `facts`, in the order of the file, as a prompt shows them.

    SettingError where a line is no example, where there is none of this scene or more than `MOST`, and for pictures of
    another camera than that of the run.
    """
    lines = _read_lines(folder)
    scene = "" if facts.geometry is None else facts.geometry.scene
    chosen = [(number, line) for number, line in lines if not scene or line.get("scene") == scene]
    if not chosen or len(chosen) > MOST:
        of = f" of the scene {scene!r}" if scene else ""
        raise SettingError(
            f"{folder} holds {len(chosen)} examples{of}; expected 1 to {MOST}. Record some with `vlm2vla "
            "zero-shot-examples`, or take lines out of its examples.jsonl."
        )
    return [_read_example(folder, number, line, action_format, facts, reasoning) for number, line in chosen]


def example_line(
    *, scene: str, task: str, picture: str, state: np.ndarray, sent: np.ndarray, camera: PinholeCamera | None,
    sees: str, subtask: str, plan: str, chunk: ActionChunk,
) -> str:  # fmt: skip
    """The line of one example; see the module."""
    values = {
        "scene": scene,
        "task": task,
        "picture": picture,
        "state": _plain(state),
        "sent": _plain(sent),
        "sees": sees,
        "subtask": subtask,
        "plan": plan,
        "deltas": _plain(chunk.deltas),
        "camera": None if camera is None else _camera_values(camera),
    }
    return json.dumps(values, ensure_ascii=False)


def _read_lines(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
        lines = [(number, json.loads(line)) for number, line in enumerate(text.splitlines(), start=1)]
    except (OSError, ValueError) as error:
        raise SettingError(f"The examples {folder / FILE} cannot be read: {error}.") from error
    for number, line in lines:
        if not isinstance(line, dict):
            raise SettingError(f"Line {number} of {folder / FILE} is no example; expected a JSON object.")
    return lines


def _read_example(
    folder: Path,
    number: int,
    line: Mapping[str, Any],
    action_format: ActionFormat,
    facts: ZeroShotFacts,
    reasoning: bool,
) -> Turn:
    where = f"Line {number} of {folder / FILE}"
    try:
        with Image.open(folder / str(line["picture"])) as image:
            picture = np.asarray(image.convert("RGB"))
        state, sent = np.array(line["state"], np.float64), np.array(line["sent"], np.float64)
        if state.shape != (7,) or sent.shape != (6,):
            raise ValueError(f"state has shape {state.shape} and sent {sent.shape}; expected (7,) and (6,)")
        camera = None if line["camera"] is None else _read_camera(line["camera"])
        pose = np.array([*sent, float(state[6] > 0.5)])
        action = write_action(action_format, np.array(line["deltas"], np.float32), pose)
        words = {name: str(line[name]) for name in ("task", "sees", "subtask", "plan")}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SettingError(f"{where} is no example ({type(error).__name__}: {error}).") from error
    now = facts.camera
    if camera is not None and now is not None and _camera_values(camera) != _camera_values(now):
        raise SettingError(
            f"{where} has a picture of another camera, or of another size, than this run. Record the examples with the "
            "--image-size and the --backend-options of the run."
        )
    said = [f"Scene: {words['sees']}", f"Subtask: {words['subtask']}", f"Plan: {words['plan']}"] if reasoning else []
    return Turn(
        draw_overlay(picture, facts if camera is None else _with_camera(facts, camera)),
        describe_state(state, sent=sent, camera=now),
        "\n".join([*said, f"Action: {action}"]),
        task=words["task"],
    )


def _with_camera(facts: ZeroShotFacts, camera: PinholeCamera) -> ZeroShotFacts:
    if facts.geometry is None:
        return facts
    return dataclasses.replace(facts, geometry=dataclasses.replace(facts.geometry, camera=camera))


def _camera_values(camera: PinholeCamera) -> dict[str, Any]:
    """Plain values, rounded so that they are the same on every machine."""
    values = {"position": camera.position, "axes": camera.axes, "focal": camera.focal, "centre": camera.centre}
    return {**{name: _plain(value) for name, value in values.items()}, "size": list(camera.size)}


def _read_camera(values: Mapping[str, Any]) -> PinholeCamera:
    return PinholeCamera(
        np.array(values["position"]),
        np.array(values["axes"]),
        focal=(float(values["focal"][0]), float(values["focal"][1])),
        centre=(float(values["centre"][0]), float(values["centre"][1])),
        size=(int(values["size"][0]), int(values["size"][1])),
    )


def _plain(values: Any) -> list[Any]:
    return (np.round(np.asarray(values, np.float64), 6) + 0.0).tolist()
