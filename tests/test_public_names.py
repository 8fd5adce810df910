"""What people import from the package is what it promises, and every name leads somewhere."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import vlm2vla_sim
from vlm2vla_sim.envs.backends import BACKENDS
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.language.formats import FORMATS
from vlm2vla_sim.policies import POLICIES


def test_the_public_names_are_these():
    """A name that goes missing breaks other people's code: taking one away is a decision, not a slip."""
    assert vlm2vla_sim.__all__ == [
        "BACKENDS",
        "FORMATS",
        "POLICIES",
        "TASKS",
        "ActionChunk",
        "ActionFormat",
        "Backend",
        "Camera",
        "Decision",
        "EpisodeResult",
        "LanguageActions",
        "Metric",
        "Outcome",
        "Policy",
        "PolicyContext",
        "PolicyFactory",
        "PolicySpec",
        "RunSettings",
        "Task",
        "TextModel",
        "Verifier",
        "Vlm2VlaError",
        "WidowXEnv",
        "__version__",
        "get_format",
        "load_policy",
        "make_vec",
        "run_episode",
        "run_policies",
        "run_suite",
        "with_suite",
    ]


@pytest.mark.parametrize("name", vlm2vla_sim.__all__)
def test_a_public_name_leads_to_what_its_module_holds(name):
    found = getattr(vlm2vla_sim, name)
    home = vlm2vla_sim._HOMES.get(name)
    if home is None:
        assert name == "__version__"
        assert found.count(".") == 2
    else:
        assert found is getattr(importlib.import_module(home), name)


def test_the_names_that_are_found_lazily_are_the_public_ones():
    assert {*vlm2vla_sim._HOMES, "__version__"} == set(vlm2vla_sim.__all__)
    assert dir(vlm2vla_sim) == sorted(vlm2vla_sim.__all__)


def test_type_checkers_see_the_same_names():
    source = inspect.getsource(vlm2vla_sim)
    block = source.split("if TYPE_CHECKING:")[1].split("\n\n")[0]
    for name, home in vlm2vla_sim._HOMES.items():
        line = next((line for line in block.splitlines() if line.strip().startswith(f"from {home} import")), "")
        assert name in line.replace(",", " ").split(), (name, home)


def test_a_star_import_brings_them_all():
    names: dict[str, object] = {}
    exec("from vlm2vla_sim import *", names)
    assert set(vlm2vla_sim.__all__) <= set(names)


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'make_vector'\. Public names: BACKENDS, .*make_vec"):
        vlm2vla_sim.make_vector  # noqa: B018 - asking is the test


@pytest.mark.parametrize("where", [*BACKENDS.values(), *POLICIES.values()])
def test_every_entry_of_a_table_leads_to_something_that_can_be_called(where):
    module, attribute = where.split(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_the_tables_list_what_commands_and_results_call_by_name():
    assert {"mujoco", "simpler", "point"} <= set(BACKENDS)
    assert {"scripted", "hold", "random"} <= set(POLICIES)
    assert {"vlm2vla", "prose", "integers", "tokens"} <= set(FORMATS)
    assert set(TASKS) == {"spoon_on_towel", "carrot_on_plate", "stack_cube", "eggplant_in_basket"}


def test_every_module_says_what_it_is_for():
    for found in pkgutil.walk_packages(vlm2vla_sim.__path__, "vlm2vla_sim."):
        spec = importlib.util.find_spec(found.name)
        assert spec is not None
        assert spec.loader is not None
        source = spec.loader.get_source(found.name)  # pyright: ignore[reportAttributeAccessIssue]
        assert source.lstrip().startswith('"""'), found.name
