"""Conventions of policy servers: rotation, gripper, image and proprioception of each model, with sources.

Two models behind the same wire protocol can differ in the order of Euler angles, in which end of the range closes the
gripper, and in the image they were trained with. None of that can be seen in the numbers themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vlm2vla_sim.core.finder import find
from vlm2vla_sim.errors import SettingError, unknown_name

ROTATIONS = ("rotvec", "euler sxyz", "euler XYZ", "none")
RESIZES = ("area", "lanczos", "pad")
PROPRIOS = ("", "bridge7", "bridge8", "servo8", "quaternion8", "absolute8")


@dataclass(frozen=True)
class Convention:
    """How a model's requests are written and its actions are read. Axes are those of the robot's base."""

    about: str
    """Which models, in a few words."""
    source: str
    """Source of the values below."""
    rotation: str
    """"rotvec"; "euler sxyz" (about fixed axes, R = Rz Ry Rx); "euler XYZ" (R = Rx Ry Rz); "none": rows are dx, dy, dz,
    gripper."""
    gripper_closed: float = 0.0
    """The gripper value that means closed; the gripper is always absolute."""
    gripper_open: float = 1.0
    gripper_threshold: float | None = 0.5
    """Opening (0 closed .. 1 open, once converted) above which it counts as open; None leaves it continuous."""
    absolute: bool = False
    """True: a row is the gripper's next target pose; False: the change of it, as ours."""
    upright: str = "base"
    """For absolute rows, the gripper orientation with rotation zero: "base" (the base's axes) or "down" (Bridge's,
    pointing down)."""
    metre: float = 1.0
    """[m] one unit of length."""
    radian: float = 1.0
    """[rad] one unit of angle."""
    image_key: str = "observation/image"
    image_size: tuple[int, int] | None = None
    """(height, width) that is sent; None sends the camera's image as it is."""
    resize: str = "area"
    """"area" (mean of the pixels covered), "lanczos", "pad" (bilinear, keeping the shape, black bars)."""
    instruction_key: str = "prompt"
    proprio_key: str = ""
    proprio: str = ""
    """"" sends none; "bridge7": x, y, z, roll, pitch, yaw relative to gripper-down, opening; "bridge8": the same with
    a 0 before the opening; "servo8": with a 0 before the servo's reading, as in BridgeData; "quaternion8": x, y, z, w,
    x, y, z in the base's axes, opening; "absolute8": x, y, z, roll, pitch, yaw in the base's axes, 0, opening of
    0 .. 0.39."""
    extras: tuple[tuple[str, str], ...] = ()
    """Further keys and values of every request."""
    execute: int = 0
    """Rows of an answer that are executed before the next request; 0 for all."""
    declares: tuple[tuple[str, str], ...] = ()
    """What a vla-eval server of this kind declares of its actions ("rotation" or "gripper", format), right or wrong. A
    server that declares neither this nor the true format is refused."""

    def __post_init__(self) -> None:
        for what, value, known in (
            ("rotation", self.rotation, ROTATIONS),
            ("way to resize", self.resize, RESIZES),
            ("proprioception", self.proprio, PROPRIOS),
            ("upright orientation", self.upright, ("base", "down")),
        ):
            if value not in known:
                raise unknown_name(f"{what} of a convention", value, known)
        if self.gripper_closed == self.gripper_open or self.metre <= 0 or self.radian <= 0 or self.execute < 0:
            raise SettingError(
                f"The convention ({self.about}) has gripper {self.gripper_closed} .. {self.gripper_open}, metre "
                f"{self.metre}, radian {self.radian}, execute {self.execute}; expected two different ends, units above "
                "0, and 0 or more rows."
            )
        if bool(self.proprio) != bool(self.proprio_key):
            raise SettingError(f"The convention ({self.about}) needs both proprio and proprio_key, or neither.")

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return 4 if self.rotation == "none" else 7


OURS = "this package's own: metres, rotation vector, gripper 0 closed .. 1 open"

_OPENPI = {
    "vlm2vla": Convention(
        about=OURS,
        source="types.ACTION_SIZE; robots.base.Robot.agent_pos",
        rotation="rotvec",
        gripper_threshold=None,
        proprio_key="observation/state",
        proprio="bridge7",
    ),
    "pi0-bridge": Convention(
        about="pi0, pi0-FAST and pi0.5 fine-tuned on Bridge, as SimplerEnv asks them",
        source="simpler-env/SimplerEnv@5f12328 simpler_env/policies/openpi/pi0_or_fast.py: __init__ (4 rows of an "
        "answer, 224 x 224), preprocess_widowx_proprio (state), step (keys, euler2axangle, gripper), _resize_image",
        rotation="euler sxyz",
        image_key="observation/primary_image",
        image_size=(224, 224),
        proprio_key="observation/state",
        proprio="bridge8",
        execute=4,
    ),
    "widowx": Convention(
        about="openpi models for a real WidowX, as inspect-robots asks them",
        source="inspect-robots-widowx 0.1.0 policy.py:89-91, 212-242; config.py:40-46, 194-197; its rows go unchanged "
        "to the Bridge robot, whose rotation is rail-berkeley/bridge_data_robot@a902e5b transformation_utils.py:142",
        rotation="euler sxyz",
        gripper_threshold=None,
        image_size=(224, 224),
        resize="pad",
        execute=5,
    ),
}

_OPENVLA = {
    "openvla": Convention(
        about="OpenVLA and MiniVLA on BridgeData, behind vla-scripts/deploy.py",
        source="openvla/openvla@c8f03f4 vla-scripts/deploy.py (keys, error); simpler-env/SimplerEnv@04fb4a2 "
        "simpler_env/policies/openvla/openvla_model.py: __init__ (224 x 224, unnorm_key), step (euler2axangle, "
        "gripper), _resize_image (area)",
        rotation="euler sxyz",
        image_key="image",
        image_size=(224, 224),
        instruction_key="instruction",
        extras=(("unnorm_key", "bridge_orig"),),
        execute=1,
    ),
    "ecot": Convention(
        about="ECoT (embodied chain of thought) on BridgeData, served by OpenVLA's deploy.py",
        source="sombit888/SimplerEnv@28289be simpler_env/policies/ecot/ecot_model.py (224 x 224, unnorm_key, "
        "euler2axangle, gripper as OpenVLA's); the protocol is OpenVLA's, whose model class the checkpoints have",
        rotation="euler sxyz",
        image_key="image",
        image_size=(224, 224),
        instruction_key="instruction",
        extras=(("unnorm_key", "bridge_orig"),),
        execute=1,
    ),
    "octo": Convention(
        about="Octo behind AutoEval's octo_server.py, which un-normalises with Bridge's statistics",
        source="zhouzypaul/auto_eval@a5012f0 auto_eval/policy_server/octo_server.py (keys, /reset, ensembling on the "
        "server); simpler-env/SimplerEnv@34d9ccf simpler_env/policies/octo/octo_model.py: __init__ (256 x 256), "
        "_resize_image (lanczos3), step (euler2axangle, gripper)",
        rotation="euler sxyz",
        image_key="image",
        image_size=(256, 256),
        resize="lanczos",
        instruction_key="instruction",
        execute=1,
    ),
    "vlm2vla": Convention(
        about=OURS,
        source="types.ACTION_SIZE; robots.base.Robot.agent_pos",
        rotation="rotvec",
        gripper_threshold=None,
        image_key="image",
        instruction_key="instruction",
        proprio_key="proprio",
        proprio="bridge7",
    ),
    "autoeval": Convention(
        about="AutoEval's stations: 256 x 256 images, the arm's absolute pose, Euler deltas",
        source="zhouzypaul/auto_eval@3ea3ff4 auto_eval/robot/policy_clients.py OpenWebClient (keys), run_eval.py:325 "
        "(256 x 256); rail-berkeley/manipulator_gym@c547d41 interfaces/widowx.py _move_eef_relative (Euler deltas), "
        "move_gripper (0 .. 0.39), manipulator_env.py _get_obs (the 8 numbers)",
        rotation="euler sxyz",
        image_key="image",
        image_size=(256, 256),
        instruction_key="instruction",
        proprio_key="proprio",
        proprio="absolute8",
        execute=1,
    ),
}

_VLA_EVAL = {
    "vlm2vla": Convention(
        about=OURS,
        source="types.ACTION_SIZE; robots.base.Robot.agent_pos",
        rotation="rotvec",
        gripper_threshold=None,
        image_key="primary",
        instruction_key="task_description",
        proprio_key="states",
        proprio="bridge7",
        declares=(("rotation", "axis_angle"), ("gripper", "continuous_01")),
    ),
    "simpler": Convention(
        about="what vla-eval's SimplerEnv benchmark takes: rotations go to the controller as they are",
        source="vla-eval 0.8.0 benchmarks/simpler/benchmark.py:275-299 (controller takes rotation vectors; above 0.5 "
        "opens), 337-341 (keys), 356-379 (states)",
        rotation="rotvec",
        image_key="primary",
        instruction_key="task_description",
        proprio_key="states",
        proprio="quaternion8",
    ),
    "openvla": Convention(
        about="vla-eval's OpenVLA server: Euler angles as the model gives them, -1 open, +1 closed",
        source="vla-eval 0.8.0 model_servers/openvla.py:78-79 (what it declares), 131-134 (gripper); rotation: "
        "simpler-env/SimplerEnv@04fb4a2 simpler_env/policies/openvla/openvla_model.py step, because the server passes "
        "on what the model says",
        rotation="euler sxyz",
        gripper_closed=1.0,
        gripper_open=-1.0,
        image_key="primary",
        instruction_key="task_description",
        execute=1,
        declares=(("rotation", "axis_angle"), ("gripper", "binary_close_positive")),
    ),
    "cogact": Convention(
        about="vla-eval's CogACT server with unnorm_key=bridge_orig: rows as the model gives them",
        source="vla-eval 0.8.0 model_servers/cogact.py:96-97 (declares nothing), 115-122; "
        "simpler-env/SimplerEnv@982db4b simpler_env/policies/sim_cogact/cogact_policy.py step (euler2axangle, gripper)",
        rotation="euler sxyz",
        image_key="primary",
        instruction_key="task_description",
        execute=1,
    ),
}

_LEROBOT = {
    "vlm2vla": Convention(
        about=OURS,
        source="types.ACTION_SIZE; robots.base.Robot.agent_pos; what `vlm2vla record` and `convert` write",
        rotation="rotvec",
        gripper_threshold=None,
        proprio_key="observation.state",
        proprio="bridge7",
        execute=1,
    ),
    "bridge": Convention(
        about="policies trained on LeRobot's copies of BridgeData",
        source="data.datasets.conventions, 'bridge', which reads those copies; gripper binarised as in "
        "simpler-env/SimplerEnv@04fb4a2 simpler_env/policies/openvla/openvla_model.py step",
        rotation="euler sxyz",
        proprio_key="observation.state",
        proprio="servo8",
        execute=1,
    ),
}

CONVENTIONS = MappingProxyType({"openpi": _OPENPI, "openvla": _OPENVLA, "vla-eval": _VLA_EVAL, "lerobot": _LEROBOT})
"""Wire protocol, or "lerobot" for policies that LeRobot loads -> name -> convention."""


def conventions_of(wire: str) -> Mapping[str, Convention]:
    """The conventions of a wire protocol by name; for a protocol that is not in the table, only this package's own."""
    return CONVENTIONS.get(wire, {"vlm2vla": _OPENPI["vlm2vla"]})


def find_convention(wire: str, name: str) -> Convention:
    """The convention `name` of the protocol `wire`, or your own as "package.module:NAME".

    UnknownNameError lists the names there are; SettingError for an object that is not a Convention.
    """
    found = find(f"convention of the wire {wire!r}", name, conventions_of(wire))
    if not isinstance(found, Convention):
        raise SettingError(f"{name} is {found!r}; expected a Convention of vlm2vla_sim.policies.remote.conventions.")
    return found
