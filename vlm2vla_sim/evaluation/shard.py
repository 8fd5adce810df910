"""A shard: the part of a run that one task of a job array carries out, in a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from vlm2vla_sim.errors import SettingError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Shard `index` of `count`."""

    index: int
    """0 .. count - 1."""
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise SettingError(
                f"The shard is {self}; expected I/N with I from 0 to N - 1, such as 0/4 for the first of four."
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that "I/N" names; SettingError for any other text."""
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if match is None:
            raise SettingError(f"The shard is {text!r}; expected I/N with I from 0 to N - 1, such as 0/4.")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """Its part of `items`: every `count`-th, so that each shard has about as much of each task.

        SettingError if there is none.
        """
        part = list(items[self.index :: self.count])
        if not part:
            raise SettingError(f"The run has {len(items)} episodes; shard {self} has none. Use at most {len(items)}.")
        return part
