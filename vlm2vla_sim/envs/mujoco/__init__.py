"""Backend "mujoco": the embedded twin of the SIMPLER WidowX scenes.

MuJoCo loads the OpenGL library that MUJOCO_GL names while it is being imported. Where that library is missing, the
import ends in an AttributeError from the depths of PyOpenGL; here it ends in a sentence.
"""

import os

from vlm2vla_sim.errors import RendererError

try:
    import mujoco  # noqa: F401 - imported here to see whether it can be
except (AttributeError, RuntimeError) as error:
    raise RendererError(
        f"MuJoCo could not be imported with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r}: the OpenGL library that it "
        f"names does not work here ({error}). Unset MUJOCO_GL, and the library is found by itself. If none is "
        "installed, on Debian or Ubuntu: sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri"
    ) from error
