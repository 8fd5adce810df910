"""Skip where the extra "robot" is absent, with the reason; fail instead where VLM2VLA_REQUIRE says it must be there."""

from __future__ import annotations

import importlib.util
import os

import pytest


def require(*packages: str) -> None:
    """Call at the top of a test module that needs `packages`."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}: pip install 'vlm2vla_sim[robot]'"
    if "robot" in os.environ.get("VLM2VLA_REQUIRE", ""):
        raise AssertionError(f"VLM2VLA_REQUIRE asks for the extra 'robot', but this test {reason}")
    pytest.skip(reason, allow_module_level=True)
