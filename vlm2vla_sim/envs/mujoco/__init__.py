"""Backend "mujoco": the MuJoCo twin of the SIMPLER WidowX scenes.

MuJoCo loads the OpenGL library named by MUJOCO_GL while it is imported. A library that is missing ends the import in an
AttributeError of PyOpenGL; here it ends in a RendererError. macOS has its own OpenGL: a value of MUJOCO_GL that exists
on Linux only is ignored there.
"""

import os
import sys

from vlm2vla_sim.errors import RendererError

LINUX_ONLY = ("egl", "osmesa", "glx")
"""Values of MUJOCO_GL that MuJoCo refuses on other systems."""


def _import_mujoco() -> None:
    asked = os.environ.get("MUJOCO_GL")
    ignored = sys.platform == "darwin" and (asked or "").strip().lower() in LINUX_ONLY
    if ignored:
        del os.environ["MUJOCO_GL"]
    try:
        import mujoco  # noqa: F401 - imported here to see whether it can be
    except (AttributeError, RuntimeError) as error:
        raise RendererError(
            f"MuJoCo could not be imported with MUJOCO_GL={asked or ''!r}: the OpenGL library that it names does not "
            f"work here ({error}). Unset MUJOCO_GL to have the library chosen automatically. If none is installed, on "
            "Debian or Ubuntu: sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri"
        ) from error
    finally:
        if ignored and asked is not None:
            os.environ["MUJOCO_GL"] = asked


_import_mujoco()
