"""Names lead to objects: those of a table, and those of modules in the working directory."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from vlm2vla_sim.core.finder import find, is_place, making
from vlm2vla_sim.errors import ExtensionError, MissingExtraError, UnknownNameError

TABLE = {"decoder": "json:JSONDecoder", "three": 3}


def test_a_name_of_the_table_is_imported_when_it_is_asked_for():
    import json

    assert find("thing", "decoder", TABLE) is json.JSONDecoder
    assert find("thing", "three", TABLE) == 3


def test_a_place_needs_no_table():
    import json

    assert find("thing", "json:dumps", {}) is json.dumps


def test_an_unknown_name_lists_the_table_and_the_other_form():
    with pytest.raises(UnknownNameError, match=r"No thing named 'decodr'\. Did you mean 'decoder'\? .*package\.module"):
        find("thing", "decodr", TABLE)


@pytest.mark.parametrize("name", ["no_such_module_anywhere:X", "json.no_such_part:X"])
def test_a_module_that_is_not_there_is_an_unknown_name(name):
    with pytest.raises(UnknownNameError, match="No thing named"):
        find("thing", name, TABLE)


def test_a_module_without_the_attribute_lists_what_it_has():
    with pytest.raises(UnknownNameError, match=r"No thing in json named 'dump_s'\. Did you mean 'dumps'"):
        find("thing", "json:dump_s", TABLE)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_package_inside", "ModuleNotFoundError: No module named 'no_such_package_inside'"),
        ("x = 1\n\n1 / 0", "ZeroDivisionError: division by zero .*broken.py, line 3"),
        ("def f(:", r"SyntaxError: invalid syntax \([^<]*broken.py, line 1\)\.$"),
    ],
)
def test_a_module_that_fails_to_import_says_where_and_why(tmp_path, monkeypatch, code, error):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken.py").write_text(code)
    sys.modules.pop("broken", None)
    with pytest.raises(ExtensionError, match=f"The thing 'broken:X' cannot be imported: {error}"):
        find("thing", "broken:X", TABLE)


def test_an_error_of_ours_keeps_its_own_words(monkeypatch):
    place = "vlm2vla_sim.policies.models.hf_model"
    monkeypatch.delitem(sys.modules, place, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"vlm2vla_sim\[vlm\]"):
        find("thing", "ours", {"ours": f"{place}:HfModel"})


def test_the_working_directory_is_searched_even_where_it_is_not_on_the_path(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "part.py").write_text("VALUE = 'found'\n")
    code = """
        import sys
        sys.path[:] = [entry for entry in sys.path if entry not in ("", sys.argv[1])]
        from vlm2vla_sim.core.finder import find
        print(find("thing", "mine.part:VALUE", {}))
        """
    command = [sys.executable, "-P", "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "found"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b:C", True),
        ("a:b", True),
        ("a.b", False),
        (":b", False),
        ("a:", False),
        ("a b:c", False),
        ("http://x:8", False),
    ],
)
def test_what_a_place_looks_like(name, expected):
    assert is_place(name) is expected


def test_what_fails_to_be_made_says_where_and_why_and_ours_is_left_alone():
    expected = r"The thing 'a:b' cannot be made: ValueError: too big .*test_finder.py"
    with pytest.raises(ExtensionError, match=expected), making("thing", "a:b"):
        raise ValueError("too big")
    with pytest.raises(ValueError, match="ours"), making("thing", "built_in"):
        raise ValueError("ours")
    with pytest.raises(UnknownNameError), making("thing", "a:b"):
        find("thing", "nothing", {})


def test_an_unknown_attribute_lists_what_the_module_defines_and_not_what_it_imports():
    with pytest.raises(UnknownNameError) as caught:
        find("thing", "vlm2vla_sim.testing:PointBackendd", {})
    assert "PointBackend" in str(caught.value)
    assert "np" not in str(caught.value).split("Available: ")[1].split(", ")
