"""Render a camera of the twin offscreen, with the OpenGL platform that this machine has.

`mujoco.Renderer` takes the platform from an environment variable when MuJoCo is imported: on a machine without a screen
it fails if MuJoCo was imported earlier. Here the platform is chosen when the first image is rendered, and the
error for a missing one names the packages to install.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco.gl_thread import GlThread, MainThread, Result
from vlm2vla_sim.errors import RendererError

ADVICE = (
    "No working OpenGL library was found (tried {tried}). On Debian or Ubuntu: "
    "sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri; and leave MUJOCO_GL unset. `vlm2vla doctor` shows what "
    "works on this machine."
)
FORKED = (
    "This process was forked from one that had already rendered an image, and OpenGL does not survive a fork: it would "
    "hang. Make the vector environment with vlm2vla_sim.make_vec, pass context='forkserver' to Gymnasium's "
    "AsyncVectorEnv (gym.make_vec(..., vector_kwargs={'context': 'forkserver'})), or make it before the first image."
)
PLATFORMS = {"linux": ("egl", "osmesa"), "darwin": ("cgl", "glfw")}
"""`sys.platform` -> the OpenGL platforms to try, in order; GLFW elsewhere."""
MAX_GEOMS = 1000

_rendered_in = 0
"""Id of the process that opened the first OpenGL context; 0 while there is none. A forked process inherits it."""
_OPENING = threading.Lock()
"""Contexts are opened one after the other: the environment variables that are set for it belong to the process."""


def platforms() -> tuple[str, ...]:
    """The OpenGL platforms to try, in order; only MUJOCO_GL's, when it names one that this system can have."""
    known = PLATFORMS.get(sys.platform, ("glfw",))
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    return (asked,) if asked in (*known, "glfw") else known


def open_context(height: int, width: int) -> Any:
    """A current OpenGL context; RendererError naming the packages to install when there is none.

    RendererError as well in a process that was forked after an image was rendered.
    """
    with _OPENING:
        return _open_context(height, width)


def _open_context(height: int, width: int) -> Any:
    global _rendered_in
    check_not_forked()
    reasons = []
    for platform in platforms():
        if (
            platform == "glfw"
            and sys.platform == "darwin"
            and threading.current_thread() is not threading.main_thread()
        ):
            reasons.append("glfw: it draws in the main thread only; set MUJOCO_GL=glfw")
            continue
        # Each platform's binding reads this variable when it is imported, and refuses the value of another.
        before = os.environ.pop("PYOPENGL_PLATFORM", None)
        try:
            context = _kept(importlib.import_module(f"mujoco.{platform}").GLContext)(width, height)
            context.make_current()
            _rendered_in = os.getpid()
            return context
        # What a missing library raises differs by binding.
        except (AttributeError, ImportError, OSError, RuntimeError, TypeError) as error:
            reasons.append(f"{platform}: {type(error).__name__}: {error}")
        finally:
            if before is not None:
                os.environ["PYOPENGL_PLATFORM"] = before
    raise RendererError(ADVICE.format(tried="; ".join(reasons)))


def _kept(kind: type) -> type:
    """The class of contexts without its `__del__`, for a context that is freed by its owner (`_Canvas.free`) alone.

    The one of MuJoCo 3.3 frees at the end of a process, or of a forked one, when OpenGL is gone, and prints an error.
    """
    return type(kind.__name__, (kind,), {"__del__": lambda self: None})


def check_not_forked() -> None:
    """RendererError if an image was rendered before this process was forked."""
    if _rendered_in not in (0, os.getpid()):
        raise RendererError(FORKED)


class OffscreenRenderer:
    """Renders images of one model, from any thread; it owns one OpenGL context."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        """Open the context. height, width: of the images [pixels]."""
        check_not_forked()
        self._thread = MainThread() if sys.platform == "darwin" and platforms() == ("glfw",) else GlThread()
        try:
            self._canvas = self._call(partial(_Canvas, model, height, width))
        except BaseException:
            self._thread.end()
            raise
        self._closer = weakref.finalize(self, self._thread.end, self._canvas.free)
        self._closer.atexit = False  # at the end of a process the driver frees everything, and threads are gone

    def render(self, data: mujoco.MjData, camera: str, size: tuple[int, int] | None = None) -> np.ndarray:
        """The image of the camera of that name: (H, W, 3) uint8 RGB, a new array.

        size: (height, width) where it differs from the renderer's; at most the model's offscreen buffer.

        Raises:
            RendererError: the renderer is closed, or this process was forked after an image was rendered.
        """
        return self._call(partial(self._canvas.render, data, camera, size))

    def segment(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """(H, W) int32: the id of the body that is visible in each pixel; 0 is the stage, which has no body."""
        return self._call(partial(self._canvas.segment, data, camera))

    def device(self) -> str:
        """What draws, as OpenGL calls it, such as "llvmpipe (LLVM 19.1.7, 256 bits)"."""
        return self._call(self._canvas.device)

    def close(self) -> None:
        """Free the context. May be called twice."""
        ending = self._closer()
        if ending is not None:
            ending.result()

    def _call(self, job: Callable[[], Result]) -> Result:
        check_not_forked()
        return self._thread.call(job)


class _Canvas:
    """The context and all that is drawn with it; made and used in one thread."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        self._model = model
        self._size = height, width
        height, width = max(height, model.vis.global_.offheight), max(width, model.vis.global_.offwidth)
        self._gl = open_context(height, width)
        try:
            self._context = mujoco.MjrContext(model, int(mujoco.mjtFontScale.mjFONTSCALE_100))
        except mujoco.FatalError as error:  # GLFW without a screen returns an invalid context
            self._gl.free()
            raise RendererError(ADVICE.format(tried=f"{', '.join(platforms())}: {error}")) from error
        mujoco.mjr_setBuffer(int(mujoco.mjtFramebuffer.mjFB_OFFSCREEN), self._context)
        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = bool(model.vis.quality.shadowsize)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED

    def render(self, data: mujoco.MjData, camera: str, size: tuple[int, int] | None) -> np.ndarray:
        self._update(data, camera)
        return self._draw(size or self._size)

    def segment(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        self._update(data, camera)
        flags = int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)
        for flag in flags:
            self._scene.flags[flag] = 1
        colours = self._draw(self._size).astype(np.int32)
        for flag in flags:
            self._scene.flags[flag] = 0
        # MuJoCo writes a geom's number in the rendered scene, plus one, into its colour; 0 is the background.
        numbers = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
        table = np.zeros(self._scene.ngeom + 1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if int(geom.objtype) == int(mujoco.mjtObj.mjOBJ_GEOM):
                table[geom.segid + 1] = self._model.geom_bodyid[geom.objid]
        return table[numbers]

    def device(self) -> str:
        from OpenGL import GL

        self._gl.make_current()
        return GL.glGetString(GL.GL_RENDERER).decode()

    def free(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def _update(self, data: mujoco.MjData, camera: str) -> None:
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(camera).id
        everything = int(mujoco.mjtCatBit.mjCAT_ALL)
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)

    def _draw(self, size: tuple[int, int]) -> np.ndarray:
        rect = mujoco.MjrRect(0, 0, size[1], size[0])
        pixels = np.zeros((*size, 3), np.uint8)
        mujoco.mjr_render(rect, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, rect, self._context)
        return np.ascontiguousarray(pixels[::-1])  # OpenGL's first row is the lowest
