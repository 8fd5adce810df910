"""Saved settings are compared field by field; new fields have their defaults, removed ones are ignored."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vlm2vla_sim.core.settings_diff import differences, to_plain


@dataclass(frozen=True)
class Inner:
    name: str
    rate: float = 0.5


@dataclass(frozen=True)
class Settings:
    size: tuple[int, int] | None = (480, 640)
    inner: Inner = field(default_factory=lambda: Inner("a"))
    several: tuple[Inner, ...] = (Inner("b"), Inner("c"))
    options: dict[str, object] = field(default_factory=dict)
    path: Path = Path("x")


def changed(saved: object, given: object) -> str:
    return "; ".join(map(str, differences(saved, given)))


def test_equal_settings_have_no_difference_after_a_round_trip_through_json():
    assert changed(to_plain(Settings()), Settings()) == ""
    assert changed(to_plain({"settings": Settings(), "data": "1f"}), {"settings": Settings(), "data": "1f"}) == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Settings(size=None), "size 480, 640, not None"),
        (Settings(inner=Inner("z", 0.1)), "inner.name a, not z; inner.rate 0.5, not 0.1"),
        (Settings(several=(Inner("b"), Inner("c", 1.0))), "several[1].rate 0.5, not 1.0"),
        (Settings(options={"a": 1, "b": True}), "options none, not a=1 b=True"),
        (Settings(path=Path("y")), "path x, not y"),
        (Settings(inner=Inner("")), "inner.name a, not (empty)"),
    ],
)
def test_a_difference_names_the_field_with_its_old_and_new_value(given, said):
    assert changed(to_plain(Settings()), given) == said


def test_another_number_of_items_is_a_difference_of_the_whole_field():
    (found,) = differences(to_plain(Settings()), Settings(several=(Inner("b"),)))
    assert found.name == "several"
    assert len(found.before) == 2


def test_a_new_field_has_its_default_at_every_depth():
    saved = to_plain(Settings())
    del saved["size"], saved["options"], saved["inner"]["rate"], saved["several"][1]["rate"]
    assert changed(saved, Settings()) == ""
    assert changed(saved, Settings(size=(1, 2))) == "size 480, 640, not 1, 2"
    assert changed(saved, Settings(inner=Inner("a", 0.7))) == "inner.rate 0.5, not 0.7"


def test_a_new_field_without_a_default_is_a_difference():
    saved = to_plain(Settings())
    del saved["inner"]["name"]
    assert changed(saved, Settings()) == "inner.name (not recorded), not a"


def test_a_removed_field_is_ignored_at_every_depth():
    saved = to_plain(Settings())
    saved["gone"] = saved["inner"]["gone"] = saved["several"][0]["gone"] = 3
    assert changed(saved, Settings()) == ""


def test_another_shape_is_a_difference_and_no_crash():
    assert changed({**to_plain(Settings()), "inner": None}, Settings()) == "inner None, not name=a rate=0.5"
    assert changed({**to_plain(Settings()), "several": 3}, Settings()).startswith("several 3, not ")
