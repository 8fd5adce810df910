"""The formats that the tests of the language are about: every one, some of them at more than one resolution."""

from __future__ import annotations

import pytest

from vlm2vla_sim.language.formats import Resolution, get_format

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
