"""Skips what this machine cannot run, saying why; fails it instead where VLM2VLA_REQUIRE names its lane.

CI names the lanes that it must run (`.ci/run`), so that it cannot be green for what it skipped.
"""

from __future__ import annotations

import importlib.util
import os

import pytest


def cannot_run(lane: str, reason: str, *, module: bool = False) -> None:
    """Skip the test, or fail it where `lane` is required. module: skip all of the module that calls this."""
    if lane in os.environ.get("VLM2VLA_REQUIRE", "").replace(",", " ").split():
        pytest.fail(f"VLM2VLA_REQUIRE asks for {lane!r}, and it cannot run: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=module)


def need(lane: str, *packages: str, extra: str = "") -> None:
    """Call it at the top of a test module, before it imports anything of `packages`; `extra` has them, or `lane`."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        cannot_run(lane, f"needs {', '.join(missing)}: pip install 'vlm2vla_sim[{extra or lane}]'", module=True)
