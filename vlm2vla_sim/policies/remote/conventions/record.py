"""What a model's requests and actions mean: one `Convention` for each published model and wire protocol.

Two models behind the same wire protocol can differ in the order of Euler angles, in which end of the range closes the
gripper, in whether a row is a change or a pose, and in the image they were trained with. None of that can be seen in
the numbers themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.errors import SettingError, unknown_name

ROTATIONS = {"rotvec": 3, "euler sxyz": 3, "euler XYZ": 3, "rot6d": 6, "none": 0}
"""Rotation -> how many numbers of a row it takes."""
RESIZES = ("area", "linear", "lanczos4", "lanczos", "pad")
PROPRIOS = {
    "": 0,
    "bridge7": 7,
    "bridge8": 8,
    "servo8": 8,
    "quaternion8": 8,
    "absolute8": 8,
    "franka10": 10,
    "rot6d20": 20,
}
"""Proprioception -> its length."""
UPRIGHTS = ("base", "down", "pitched")
Key = str | tuple[str | int, ...]
"""Where a value stands in a message: a key, or the path to it, in which a number is the place in a list."""


@dataclass(frozen=True)
class Convention:
    """How a model's requests are written and its actions are read. Axes are those of the robot's base."""

    about: str
    """Which models, in a few words."""
    source: str
    """Source of the values below."""
    rotation: str
    """"rotvec"; "euler sxyz" (about fixed axes, R = Rz Ry Rx); "euler XYZ" (R = Rx Ry Rz); "rot6d": the first two
    columns of the matrix, row by row (r00, r01, r10, r11, r20, r21); "none": rows are dx, dy, dz, gripper."""
    gripper_closed: float = 0.0
    """The gripper value that means closed; the gripper is always absolute."""
    gripper_open: float = 1.0
    gripper_threshold: float | None = 0.5
    """Opening (0 closed .. 1 open, once converted) above which it counts as open; None leaves it continuous."""
    thresholds: tuple[tuple[str, float], ...] = ()
    """Instruction -> its own `gripper_threshold`, where a model is evaluated with one for each task."""
    gripper_optional: bool = False
    """Whether a row may end before its gripper value: the gripper then stays as it was last told."""
    absolute: bool = False
    """True: a row is the gripper's next target pose; False: the change of it, as ours."""
    upright: str = "base"
    """For absolute rows, the gripper orientation with rotation zero: "base" (the base's axes) or "down" (Bridge's,
    pointing down); "pitched": down, reached by adding a quarter turn to the pitch, the second of the angles "euler
    sxyz", which is the same where roll is zero."""
    sums: int = 0
    """Control steps whose motion an answer sums in its one row: it is spread over them. 0: every row is one step."""
    metre: float = 1.0
    """[m] one unit of length."""
    radian: float = 1.0
    """[rad] one unit of angle."""
    padding: int = 0
    """Numbers that a row has after its gripper value, and which mean nothing for one arm."""
    answer_key: Key = "actions"
    """Where the rows stand in an answer that is a map."""
    text_key: str = ""
    """Key of the model's own words in an answer; empty if it writes none."""
    image_key: Key = "observation/image"
    image_size: tuple[int, int] | None = None
    """(height, width) that is sent; None sends the camera's image as it is."""
    resize: str = "area"
    """"area" (OpenCV's INTER_AREA: mean of what a pixel covers), "linear" and "lanczos4" (its INTER_LINEAR and
    INTER_LANCZOS4, which take the nearest pixels however much they shrink), "lanczos" (over all that is covered, as
    Pillow and TensorFlow), "pad" (bilinear, keeping the shape, black bars)."""
    history: int = 1
    """Images in a request, one control step after another; the first is repeated while there are fewer. More than one
    are sent as an array (T, H, W, 3), oldest first."""
    history_interval: int = 1
    """Control steps between them."""
    instruction_key: Key = "prompt"
    proprio_key: Key = ""
    proprio: str = ""
    """"" sends none; "bridge7": x, y, z, roll, pitch, yaw relative to gripper-down, opening; "bridge8": the same with
    a 0 before the opening; "servo8": with a 0 before the servo's reading, as in BridgeData; "quaternion8": x, y, z, w,
    x, y, z in the base's axes, opening; "absolute8": x, y, z, roll, pitch, yaw in the base's axes, 0, opening of
    0 .. 0.39; "franka10": x, y, z, the first two columns of the orientation in a Franka's axes (z where the gripper
    points, x forward when it points down), opening; "rot6d20": the last row that was carried out, or x, y, z, no
    rotation ("rot6d") and 0 before the first, then ten zeros."""
    extras: tuple[tuple[str, object], ...] = ()
    """Further keys and values of every request."""
    task_key: str = ""
    """Key under which SIMPLER's name of the task is sent, where the instruction is one of SIMPLER's; empty: it is not
    sent."""
    encoded: bool = False
    """Over POST /act: whether an array stands in the request as a text, json-numpy within JSON."""
    execute: int = 0
    """Rows of an answer that are executed before the next request; 0 for all."""
    ensemble: int = 0
    """Temporal ensembling: the last answers whose predictions for a control step are averaged, one request for every
    step; 0 or 1 for none."""
    ensemble_temperature: float = 0.0
    """An answer that is k steps younger than the oldest weighs exp(-temperature k): below 0 newer ones weigh more."""
    ensemble_alpha: float = 0.0
    """Not 0: each weighs exp(alpha c), where c is its cosine similarity with the newest."""
    max_steps: int | None = None
    """Control steps of an episode in the model's published evaluation, where they are not SIMPLER's 60 or 120."""
    declares: tuple[tuple[str, str], ...] = ()
    """What a vla-eval server of this kind declares of its actions ("rotation" or "gripper", format), right or wrong. A
    server that declares neither this nor the true format is refused."""

    def __post_init__(self) -> None:
        for what, value, known in (
            ("rotation", self.rotation, ROTATIONS),
            ("way to resize", self.resize, RESIZES),
            ("proprioception", self.proprio, PROPRIOS),
            ("upright orientation", self.upright, UPRIGHTS),
        ):
            if value not in known:
                raise unknown_name(f"{what} of a convention", value, tuple(known))
        if self.gripper_closed == self.gripper_open or self.metre <= 0 or self.radian <= 0 or self.execute < 0:
            raise SettingError(
                f"The convention ({self.about}) has gripper {self.gripper_closed} .. {self.gripper_open}, metre "
                f"{self.metre}, radian {self.radian}, execute {self.execute}; expected two different ends, units above "
                "0, and 0 or more rows."
            )
        if bool(self.proprio) != bool(self.proprio_key):
            raise SettingError(f"The convention ({self.about}) needs both proprio and proprio_key, or neither.")
        if self.history < 1 or self.history_interval < 1 or min(self.ensemble, self.sums, self.padding) < 0:
            raise SettingError(
                f"The convention ({self.about}) has history {self.history}, history_interval {self.history_interval}, "
                f"ensemble {self.ensemble}, sums {self.sums}, padding {self.padding}; expected 1 or more images and "
                "steps between them, and 0 or more of the others."
            )
        self._check_what_excludes_each_other()

    def _check_what_excludes_each_other(self) -> None:
        wrong = ""
        if self.ensemble > 1 and self.execute > 1:
            wrong = "averages the answers of several steps, which needs a request for every step: execute 0 or 1"
        elif self.ensemble > 1 and self.absolute and self.rotation != "rot6d":
            wrong = "averages poses, whose angles have no mean: only the rotation 'rot6d' has"
        elif self.ensemble_alpha and self.ensemble_temperature:
            wrong = "weighs answers by age and by similarity: give ensemble_temperature or ensemble_alpha"
        elif self.sums and (self.absolute or self.ensemble > 1 or self.padding):
            wrong = "sums several steps in a row: not of poses, without ensemble and padding"
        elif self.rotation == "rot6d" and self.radian != 1:
            wrong = "has the rotation 'rot6d', which has no unit of angle"
        elif self.upright == "pitched" and not (self.absolute and self.rotation in ("rot6d", "euler sxyz")):
            wrong = "is pitched, which is for absolute rows with the rotation 'rot6d' or 'euler sxyz'"
        if wrong:
            raise SettingError(f"The convention ({self.about}) {wrong}.")

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return 3 + ROTATIONS[self.rotation] + 1 + self.padding

    @property
    def by_step(self) -> bool:
        """Whether every control step needs the arm or the camera as it is then, so that a decision is one step."""
        return self.absolute or self.history > 1 or self.ensemble > 1

    @property
    def proprio_length(self) -> int:
        """Numbers of the proprioception; 0 where none is sent."""
        return PROPRIOS[self.proprio]


SIMPLER_NAMES = {
    "put the spoon on the towel": "widowx_spoon_on_towel",
    "put carrot on plate": "widowx_carrot_on_plate",
    "stack the green block on the yellow block": "widowx_stack_cube",
    "put eggplant into yellow basket": "widowx_put_eggplant_in_basket",
}
"""Instruction -> SIMPLER's name of the task (simpler-env/SimplerEnv@4ab7178 simpler_env/__init__.py)."""
OURS = "this package's own: metres, rotation vector, gripper 0 closed .. 1 open"
OUR_SOURCE = "types.ACTION_SIZE; robots.base.Robot.agent_pos"
