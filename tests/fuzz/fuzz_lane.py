"""How many cases each property of this folder tries, and the settings of hypothesis.

Every case must end in the right value or in an error of this package that is a sentence. The whole folder tries 2,000
cases by default; `FUZZ_FACTOR=10 make test-fuzz` tries ten times as many.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings


def cases(count: int) -> Any:
    """The hypothesis settings for `count` cases, the same cases every time."""
    return settings(
        max_examples=count * int(os.environ.get("FUZZ_FACTOR", "1")),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
