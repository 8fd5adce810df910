"""Every command line in the README and the documentation parses, names what exists, and runs where that is marked."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, Command, all_blocks, all_commands, code_spans

from vlm2vla_sim.cli import main as cli
from vlm2vla_sim.cli.flags import RunFlags
from vlm2vla_sim.cli.result import CommandResult

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OTHERS = ("git", "ssh", "cd", "export", "for", "do", "done")
"""Commands of the shell that a page may use and nobody here can check."""

COMMANDS = all_commands()


def ids(command: Command) -> str:
    return f"{command.where} {' '.join(command.words)}"


def of(*programs: str) -> list[Command]:
    return [command for command in COMMANDS if command.words[: len(programs)] == programs]


def parse_only(monkeypatch: pytest.MonkeyPatch, name: str) -> list[dict[str, object]]:
    """Let the command `name` be parsed by its own parser and not carried out; what it was called with."""
    module, function = cli.COMMANDS[name][0].split(":")
    original = getattr(importlib.import_module(module), function)
    calls: list[dict[str, object]] = []

    @functools.wraps(original)
    def record(*args: object, **options: object) -> CommandResult:
        bound = inspect.signature(original).bind(*args, **options)
        calls.append(dict(bound.arguments))
        return CommandResult("parsed", {})

    monkeypatch.setattr(importlib.import_module(module), function, record)
    return calls


def check(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line is read by the command's own parser, and whatever says how a run is made is accepted."""
    name = words[0]
    assert name in cli.COMMANDS, f"There is no command {name!r}."
    calls = parse_only(monkeypatch, name)
    status = cli.main(list(words))
    assert status == 0, capsys.readouterr()
    [call] = calls
    run = call.get("run")
    if isinstance(run, RunFlags):
        tasks = call.get("tasks", call.get("task", "carrot_on_plate"))
        named = (tasks,) if isinstance(tasks, str) else tasks
        if named == ("all",):
            named = tuple(importlib.import_module("vlm2vla_sim").TASKS)
        episodes = call.get("episodes", 1)
        assert isinstance(episodes, int)
        run.settings(tasks=named, episodes=episodes)  # type: ignore[arg-type]


def test_pages_are_found():
    assert len(PAGES) > 15
    assert len(of("vlm2vla")) > 30
    assert len([command for command in COMMANDS if command.run]) > 3


def test_every_block_says_what_it_is_written_in():
    unmarked = [block.where for block in all_blocks("")]
    assert unmarked == [], "Write ```bash, ```python, ```text, ...; a block without a language is not checked."


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_every_command_is_one_that_is_checked(command):
    program = command.words[0]
    known = ("vlm2vla", "make", "pip", "python", *OTHERS)
    assert program in known or "=" in program, f"{program!r} is none of {known}."


@pytest.mark.parametrize("command", of("vlm2vla"), ids=ids)
def test_every_vlm2vla_command_parses(command, monkeypatch, capsys, own_package):
    check(command.words[1:], monkeypatch, capsys)


@pytest.mark.parametrize("command", of("python", "-m", "vlm2vla_sim"), ids=ids)
def test_every_command_of_the_module_parses(command, monkeypatch, capsys, own_package):
    check(command.words[3:], monkeypatch, capsys)


@pytest.mark.parametrize("command", of("make"), ids=ids)
def test_every_make_target_exists(command):
    for target in (word for word in command.words[1:] if "=" not in word and not word.startswith("-")):
        assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE), f"make has no target {target}."


@pytest.mark.parametrize("command", of("pip"), ids=ids)
def test_every_install_command_resolves_in_a_checkout(command):
    assert command.words[1] == "install"
    for word in command.words[2:]:
        if word.startswith("-"):
            continue
        found = re.fullmatch(r"\.(?:\[([\w,-]+)\])?", word)
        assert found, f"{word!r}: the package is on no index; write pip install . or '.[EXTRA]'."
        extras = found[1].split(",") if found[1] else []
        assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("command", of("python"), ids=ids)
def test_every_script_exists_and_knows_its_flags(command):
    if command.words[1] == "-m":
        assert importlib.util.find_spec(command.words[2]) or command.words[2] == "venv"
        return
    script = ROOT / command.words[1]
    assert script.is_file()
    source = script.read_text(encoding="utf-8")
    for word in command.words[2:]:
        if word.startswith("--"):
            assert word in source or word[2:].replace("-", "_") in source, f"{script.name} has no {word}."


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_exist(page):
    for span in code_spans(page):
        words = span.split()
        if words[0] == "vlm2vla" and len(words) > 1 and words[1].isidentifier() and words[1].islower():
            assert words[1].replace("_", "-") in cli.COMMANDS, span
        if words[0] == "vlm2vla" and len(words) > 1 and "-" in words[1] and not words[1].startswith("-"):
            assert words[1] in cli.COMMANDS, span
        if words[0] == "make" and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]):
            assert re.search(rf"^{words[1]}:", MAKEFILE, re.MULTILINE), span


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.run], ids=ids)
def test_a_command_that_is_marked_runs(command, monkeypatch, tmp_path, capsys, own_package):
    assert command.words[0] == "vlm2vla"
    monkeypatch.chdir(tmp_path)
    assert cli.main(list(command.words[1:])) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "words",
    [
        ("rollout", "--task", "carrot_on_plate"),
        ("evaluate", "--polciy", "scripted"),
        ("evaluate", "--policy", "scriptedd"),
        ("evaluate", "--tasks", "carrot"),
        ("evalute",),
        ("evaluate", "--policy", "vlm", "--model", "m", "--policy-options", "sampling=hot"),
    ],
)
def test_a_command_that_is_wrong_is_found(words, monkeypatch, capsys):
    from vlm2vla_sim.errors import Vlm2VlaError

    with pytest.raises((AssertionError, Vlm2VlaError)):
        check(words, monkeypatch, capsys)


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that the pages call `my_package`, in the working directory."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "policy.py").write_text("from vlm2vla_sim.policies.baselines import make_hold as make\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
