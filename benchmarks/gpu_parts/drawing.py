"""How fast the twin is drawn, through EGL where there is a GPU."""

from __future__ import annotations

import time

from gpu_parts.report import Report, absent

NEEDS = ("mujoco", "OpenGL", "rtbdata", "gymnasium")
SIZES = ((480, 640, "fast"), (224, 224, "fast"), (480, 640, "high"))
"""(height, width, quality)."""


def measure(report: Report, *, rehearse: bool) -> None:
    """A row for each size and quality; none without MuJoCo."""
    missing = absent(NEEDS)
    if missing:
        report.finish(f"not measured: {', '.join(missing)} cannot be imported; see `gpu_suite.py pack`")
        return
    import mujoco

    from vlm2vla_sim.envs.mujoco import scene
    from vlm2vla_sim.envs.mujoco.renderer import OffscreenRenderer
    from vlm2vla_sim.envs.tasks import get_task

    seconds = 0.2 if rehearse else 4.0
    task = get_task("carrot_on_plate")
    for height, width, quality in SIZES[1:2] if rehearse else SIZES:
        model = scene.build_model(task, quality=quality, image_size=(height, width), extras=())
        data = mujoco.MjData(model)  # type: ignore[attr-defined]
        mujoco.mj_forward(model, data)  # type: ignore[attr-defined]
        renderer = OffscreenRenderer(model, height, width)
        try:
            renderer.render(data, scene.PRIMARY_CAMERA)
            images, started = 0, time.perf_counter()
            while (taken := time.perf_counter() - started) < seconds:
                renderer.render(data, scene.PRIMARY_CAMERA)
                images += 1
            report.add(
                {},
                height=height, width=width, quality=quality, device=renderer.device(), images=images,
                images_per_second=round(images / taken, 1),
            )  # fmt: skip
        finally:
            renderer.close()
    report.finish()
