"""Data sets with random schemas: every episode is read right, or skipped with a sentence about the data.

A case is a random episode with up to three harmless changes, after which it must be read as before, and sometimes a
harmful one, after which it must be refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import schemas_lerobot
import schemas_raw
import schemas_rlds
from fuzz_lane import cases
from hypothesis import given
from hypothesis import strategies as st
from schema_values import assert_right, assert_sentence, outcome

from vlm2vla_sim.data.datasets.open import DatasetOptions, open_dataset

Change = Callable[[Any], None]


def changes(
    harmless: Sequence[Change], harmful: Sequence[Change]
) -> st.SearchStrategy[tuple[list[Change], Change | None]]:
    """Up to three harmless changes, and a harmful one in most cases."""
    return st.tuples(
        st.lists(st.sampled_from(harmless), max_size=3, unique=True),
        st.one_of(st.none(), st.sampled_from(harmful), st.sampled_from(harmful)),
    )


@cases(200)
@given(seed=st.integers(0, 2**32 - 1), changed=changes(schemas_rlds.HARMLESS, schemas_rlds.HARMFUL))
def test_rlds_episodes(seed: int, changed: tuple[list[Change], Change | None]) -> None:
    episode = schemas_rlds.make(np.random.default_rng(seed))
    for change in changed[0]:
        change(episode)
    if changed[1] is not None:
        changed[1](episode)
    (found,) = outcome(schemas_rlds.read(episode))
    if changed[1] is None:
        assert_right(found, episode.expected)
    else:
        assert_sentence(found)


@cases(200)
@given(seed=st.integers(0, 2**32 - 1), changed=changes(schemas_raw.HARMLESS, schemas_raw.HARMFUL))
def test_raw_folders(seed: int, changed: tuple[list[Change], Change | None]) -> None:
    recording = schemas_raw.make(np.random.default_rng(seed))
    for change in changed[0]:
        change(recording)
    expected = recording.expected()
    if changed[1] is not None:
        changed[1](recording)
    with tempfile.TemporaryDirectory() as folder:
        recording.write(Path(folder))
        (found,) = outcome(open_dataset(Path(folder), DatasetOptions(format="bridge_raw")))
        if changed[1] is None:
            assert_right(found, expected)
        else:
            assert_sentence(found)


@cases(200)
@given(seed=st.integers(0, 2**32 - 1), changed=changes(schemas_lerobot.HARMLESS, schemas_lerobot.HARMFUL))
def test_lerobot_folders(seed: int, changed: tuple[list[Change], Change | None]) -> None:
    folder = schemas_lerobot.make(np.random.default_rng(seed))
    for change in changed[0]:
        change(folder)
    if changed[1] is not None:
        changed[1](folder)
    with tempfile.TemporaryDirectory() as root:
        folder.write(Path(root))
        first, second = outcome(open_dataset(Path(root), DatasetOptions(convention="bridge")))
        if folder.whole_file:
            assert_sentence(first)
        else:
            assert_right(first, folder.expected[0])
        if changed[1] is None:
            assert_right(second, folder.expected[1])
        else:
            assert_sentence(second)
