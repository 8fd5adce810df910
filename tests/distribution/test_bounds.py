"""The version bounds in pyproject.toml are those that `make test-lowest` and the other lanes run with."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from lane import cannot_run
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOWEST_EXTRAS = ("data", "plots", "remote", "robot", "trackio", "vlm")
"""Those that the lane installs."""
UNTESTED = {"torch"}
"""Packages whose lowest version the lane does not install; `constraints-lowest.txt` says why."""


def read_pins(name: str) -> dict[str, Version]:
    """Canonical name -> pinned version."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def declared(*extras: str) -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for e in extras for line in PROJECT["optional-dependencies"][e])]
    return [Requirement(line) for line in lines]


def lower_bound(requirement: Requirement) -> Version | None:
    bounds = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
    return max(bounds, default=None)


def test_the_lowest_versions_are_the_declared_lower_bounds():
    bounds = {canonicalize_name(r.name): lower_bound(r) for r in declared(*LOWEST_EXTRAS) if r.name not in UNTESTED}
    assert bounds == read_pins("constraints-lowest.txt")


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_every_dependency_has_a_lower_bound_and_allows_the_pinned_version(extra):
    pins = read_pins("constraints.txt")
    for requirement in declared(extra):
        name = canonicalize_name(requirement.name)
        assert lower_bound(requirement) is not None, requirement
        assert name not in pins or requirement.specifier.contains(pins[name]), requirement


def test_the_lane_runs_with_the_lowest_versions():
    pins = read_pins("constraints-lowest.txt")
    installed = {name: Version(importlib.metadata.version(name)) for name in pins if _is_installed(name)}
    if installed != pins:
        cannot_run("lowest", "other versions than those of constraints-lowest.txt are installed: `make test-lowest`")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
