"""What is checked while the arm stands still: server, link, cameras, pose, joints, workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vlm2vla_sim.core.checks import Check
from vlm2vla_sim.core.control_steps import CONTROL_HZ
from vlm2vla_sim.envs.probe import CameraLook, Look, Probe
from vlm2vla_sim.robots.base import Robot, Workspace

SLOW_LINK = 0.05
"""[s] of a round trip, 95th percentile: a quarter of a control step, which has two of them."""
SLOW_LOOK = 1 / CONTROL_HZ
"""[s] of an observation, 95th percentile: longer ones leave no time for the motion of a control step."""
OLD = 0.5
"""[s] age of an image; the backends refuse older ones by default."""
DARK, BRIGHT = 20.0, 235.0
"""Mean brightness, 0 .. 255, below and above which little of a scene is seen."""
FLAT = 4.0
"""Standard deviation of the brightness below which a camera sees no scene: a lens cap, a wall."""
STRETCHED = 0.02
"""Relative difference between the aspect ratios of a camera and of the image that policies are shown."""
AT_LIMIT = 0.03
"""[rad] from the end of a joint's range."""
EDGE = 1e-3
"""[m] by which a measured position may be outside the workspace."""
NOT_TOLD = "not known: this robot's wire does not tell it"


def check_server(probe: Probe) -> Check:
    """Who answered."""
    if not probe.server:
        return Check("server", None, False, NOT_TOLD)
    return Check("server", True, True, probe.server, measured={"versions": dict(probe.versions)})


def check_link(probe: Probe) -> Check:
    """How long a request takes for which the robot does nothing."""
    advice = (
        "A control step of 200 ms has two round trips. Use a cable instead of Wi-Fi, run this program closer to the "
        "robot, and look for other users of the network."
    )
    return _check_seconds("link", "round trip", probe.round_trips, SLOW_LINK, advice)


def check_observations(probe: Probe) -> Check:
    """How long an observation takes."""
    seconds = [look.seconds for look in probe.looks if look.seconds is not None]
    if not probe.looks:
        return Check("observations", None, True, f"not known: {probe.no_looks}")
    advice = (
        "It does not fit in a control step, 200 ms. Where the link is fast, the robot's computer or its camera driver "
        "is slow: lower the camera's resolution there, and stop other programs."
    )
    return _check_seconds("observations", "observation", seconds, SLOW_LOOK, advice)


def check_cameras(probe: Probe, image_size: tuple[int, int]) -> list[Check]:
    """One check for each camera. image_size: (height, width) [px] that policies are shown."""
    if not probe.looks:
        return [Check("cameras", None, True, f"not known: {probe.no_looks}")]
    names = probe.looks[0].cameras
    if not names:
        return [Check("cameras", None, False, "there are none")]
    return [check_camera(name, [look.cameras[name] for look in probe.looks], image_size) for name in names]


def check_camera(name: str, looks: Sequence[CameraLook], image_size: tuple[int, int]) -> Check:
    """Size, channels, freshness and brightness of one camera, from several images in a row."""
    label = f"camera {name}"
    images = [look.image for look in looks if look.image is not None]
    if not images:
        return Check(label, False, True, looks[-1].problem or "no image", "Check its cable, and that its driver runs.")
    newest = images[-1]
    height, width = newest.shape[:2]
    channels = 1 if newest.ndim == 2 else newest.shape[2]
    grey = newest.astype(np.float64) if newest.ndim == 2 else newest.astype(np.float64).mean(axis=2)
    brightness, spread = float(grey.mean()), float(grey.std())
    different = len({image.tobytes() for image in images})
    ages = [look.age for look in looks if look.age is not None]
    found = f"{width} x {height} px, {channels} channel{'s' * (channels != 1)}, brightness {brightness:.0f} of 255, "
    found += f"{different} of {len(images)} images differ" if len(images) > 1 else "one image: freshness is not known"
    found += f", newest {1000 * ages[-1]:.0f} ms old" if ages else ""
    faults = [
        *_faults_of_light(brightness, spread),
        *_faults_of_form(channels, width / height, image_size),
        *_faults_of_age(len(images), different, len(looks), ages[-1] if ages else None),
    ]
    measured = {
        "width_px": width,
        "height_px": height,
        "channels": channels,
        "brightness": round(brightness, 1),
        "contrast": round(spread, 1),
        "images": len(images),
        "different_images": different if len(images) > 1 else None,
        "age_s": ages[-1] if ages else None,
    }
    return Check(label, not faults, True, found, " ".join(faults), measured)


def seem_frozen(looks: Sequence[Look]) -> bool:
    """Whether some camera showed the same image in every look."""
    for name in looks[0].cameras if len(looks) > 1 else ():
        images = [look.cameras[name].image for look in looks if name in look.cameras]
        if len({image.tobytes() for image in images if image is not None}) == 1:
            return True
    return False


def check_pose(look: Look) -> Check:
    """Where the arm says that it is."""
    state = [float(number) for number in look.state]
    text = f"x {state[0]:.3f}, y {state[1]:.3f}, z {state[2]:.3f} m; roll {state[3]:.2f}, pitch {state[4]:.2f}, "
    text += f"yaw {state[5]:.2f} rad; gripper {state[6]:.2f} of 1"
    advice = "" if np.isfinite(state).all() else "Restart the robot's server."
    return Check("pose", not advice, True, text, advice, {"state": state if not advice else None})


def check_joints(joints: np.ndarray | None, robot: Robot) -> Check:
    """Whether each joint is inside its range."""
    if joints is None:
        return Check("joint ranges", None, False, NOT_TOLD)
    limits = {link.joint: link.limits for link in robot.links}
    parts, near = [], []
    for name, angle in zip(robot.arm_joints, joints, strict=True):
        low, high = limits[name]
        parts.append(f"{name} {angle:.2f} ({low:.2f} to {high:.2f})")
        if not low + AT_LIMIT < angle < high - AT_LIMIT:
            near.append(name)
    advice = (
        f"At the end of its range: {', '.join(near)}. Bring the arm to its sleep pose, then to its start."
        if near
        else ""
    )
    measured = {name: float(angle) for name, angle in zip(robot.arm_joints, joints, strict=True)}
    found = f"[rad] {', '.join(parts)}"
    return Check("joint ranges", not near, True, found, advice if near else "", {"angle_rad": measured})


def check_workspace(look: Look | None, start: np.ndarray | None, workspace: Workspace) -> Check:
    """Whether the arm and its start pose are inside the box that the gripper's target may not leave."""
    low, high = np.array(workspace.low), np.array(workspace.high)
    inside: dict[str, bool | None] = {}
    for what, position in (("arm", None if look is None else look.state[:3]), ("start", start)):
        known = position is not None
        inside[what] = bool(((position >= low - EDGE) & (position <= high + EDGE)).all()) if known else None
    words = [f"{what} {'not known' if one is None else 'inside' if one else 'OUTSIDE'}" for what, one in inside.items()]
    sides = zip("xyz", workspace.low, workspace.high, strict=True)
    box = ", ".join(f"{axis} {one:.2f} to {other:.2f}" for axis, one, other in sides)
    advice = ""
    if inside["start"] is False:
        advice = "Give a start pose or a workspace of your own (backend option start= or workspace=)."
    elif inside["arm"] is False:
        advice = "Bring the arm into the box with `vlm2vla robot sleep` or a reset, or give a workspace= of your own."
    works = None if inside["arm"] is None and not advice else not advice
    measured = {f"{what}_inside": one for what, one in inside.items()}
    return Check("workspace", works, True, f"{', '.join(words)}; {box} m", advice, measured)


def check_versions(here: Mapping[str, str], there: Mapping[str, str]) -> Check:
    """What runs on this machine, and what the robot's side says of itself."""
    return Check("versions", True, False, ", ".join(f"{name} {version}" for name, version in {**here, **there}.items()))


def _check_seconds(name: str, what: str, seconds: Sequence[float], limit: float, advice: str) -> Check:
    if not seconds:
        return Check(name, None, False, NOT_TOLD)
    median, late, longest = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.95, 1.0))
    found = f"{what} {median:.1f} ms (median), {late:.1f} ms (95 %), {longest:.1f} ms (longest of {len(seconds)})"
    works = late <= 1000 * limit
    if not works:
        found += f"; at most {1000 * limit:.0f} ms (95 %) were expected"
    return Check(name, works, True, found, "" if works else advice, {"seconds": [round(one, 6) for one in seconds]})


def _faults_of_light(brightness: float, spread: float) -> list[str]:
    if brightness < DARK:
        return ["Too dark: switch the light on, take the cap off the lens, check the exposure."]
    if brightness > BRIGHT:
        return ["Too bright: check the exposure, and that no lamp shines into the lens."]
    return ["Nothing is seen in it: check the lens, and where it points."] if spread < FLAT else []


def _faults_of_form(channels: int, aspect: float, image_size: tuple[int, int]) -> list[str]:
    wanted = image_size[1] / image_size[0]
    faults = ["Grey: policies expect colours; set the camera's driver to colour."] if channels != 3 else []
    if abs(aspect / wanted - 1) > STRETCHED:
        faults.append(
            f"Policies are shown {image_size[1]} x {image_size[0]} px, in which this image is stretched. Set the "
            "camera's driver to that shape."
        )
    return faults


def _faults_of_age(images: int, different: int, asked: int, age: float | None) -> list[str]:
    faults = []
    if images < asked:
        faults.append(f"{asked - images} of {asked} images did not come: check its cable.")
    if images > 1 and different == 1:
        faults.append("Frozen: the same image every time. Restart the camera's driver, check its cable.")
    elif age is not None and age > OLD:
        faults.append(f"The newest image is older than {1000 * OLD:.0f} ms: check the camera's driver and its cable.")
    return faults
