"""The servers of these tests close sockets from several threads; what they say while closing is no test result."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _quiet_websockets():
    logger = logging.getLogger("websockets")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)
