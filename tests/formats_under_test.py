"""The formats that the tests of the language are about: every one, some of them at more than one resolution."""

from __future__ import annotations

import re._constants as constants
import re._parser as parser
from typing import Any

import numpy as np
import pytest

from vlm2vla_sim.language.formats import ActionFormat, ActionStatistics, Resolution, get_format, needs_statistics
from vlm2vla_sim.language.formats.statistics import BRIDGE

SYMBOLS = tuple("αβγδεζηθικ")

FORMATS = {
    "vlm2vla": get_format("vlm2vla"),
    "vlm2vla, fine": get_format("vlm2vla", resolution=Resolution(translation=0.001, rotation=0.5)),
    "prose": get_format("prose"),
    "prose, half centimetres": get_format("prose", resolution=Resolution(translation=0.005, rotation=1)),
    "integers": get_format("integers"),
    "tokens": get_format("tokens", symbols=SYMBOLS),
    "tokens of many letters": get_format("tokens", symbols=[f"<unused{index}>" for index in range(10)]),
}

in_every_format = pytest.mark.parametrize("action_format", list(FORMATS.values()), ids=list(FORMATS))
"""Runs a test once for each of FORMATS."""


def dialect(name: str, statistics: ActionStatistics = BRIDGE) -> ActionFormat:
    """A format of `DIALECTS`; one that needs statistics has these."""
    return get_format(name, statistics=statistics if needs_statistics(name) else None)


def random_text(regex: str, rng: np.random.Generator) -> str:
    """A random text of a regular expression that keeps to the dialect of `Grammar.regex`."""

    def say(parsed: Any) -> str:
        said = ""
        for kind, value in parsed:
            if kind is constants.LITERAL:
                said += chr(value)
            elif kind is constants.IN:
                codes = [range(one[0], one[1] + 1) if sort is constants.RANGE else [one] for sort, one in value]
                said += chr(rng.choice([code for some in codes for code in some]))
            elif kind is constants.SUBPATTERN:
                said += say(value[3])
            elif kind is constants.BRANCH:
                said += say(value[1][rng.integers(len(value[1]))])
            elif kind is constants.MAX_REPEAT:
                said += "".join(say(value[2]) for _ in range(rng.integers(value[0], value[1] + 1)))
            else:
                raise AssertionError(f"{kind} is not in the dialect of `Grammar.regex`")
        return said

    return say(parser.parse(regex))
