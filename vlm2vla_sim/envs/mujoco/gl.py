"""Choose the OpenGL library before MuJoCo is imported, and say what to install when there is none.

MuJoCo reads MUJOCO_GL once, at import. Left unset on a machine without a screen it picks GLFW, which needs one, and the
user meets a native error at the first picture.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from vlm2vla_sim.errors import RendererError

ADVICE = (
    "MuJoCo found no OpenGL library to draw with (MUJOCO_GL={name!r}). On Debian or Ubuntu: "
    "sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri. Without EGL: sudo apt-get install libosmesa6 and "
    "set MUJOCO_GL=osmesa. `vlm2vla doctor` tries every renderer and says which works."
)


def choose() -> None:
    """Set MUJOCO_GL to "egl" on a Linux machine without a screen, unless the user has set it."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and not os.environ.get("MUJOCO_GL"):
        os.environ["MUJOCO_GL"] = "egl"


def make_renderer(model: Any, height: int, width: int) -> Any:
    """A `mujoco.Renderer` of that size; RendererError naming the packages to install where none can be made."""
    import mujoco

    try:
        return mujoco.Renderer(model, height, width)
    # What a missing library raises differs by binding: PyOpenGL an AttributeError or ImportError, MuJoCo a RuntimeError.
    except (AttributeError, ImportError, OSError, RuntimeError, mujoco.FatalError) as error:
        name = os.environ.get("MUJOCO_GL", "")
        raise RendererError(f"{ADVICE.format(name=name)} ({type(error).__name__}: {error})") from error
