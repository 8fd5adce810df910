"""Every command line in the README and the documentation parses, names what exists, and runs where that is marked."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, Command, all_blocks, all_commands, code_spans, commands, write_files

from vlm2vla_sim.cli import main as cli
from vlm2vla_sim.cli.flags import RunFlags
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.evaluation.suite_file import get_suite
from vlm2vla_sim.mini import __main__ as mini
from vlm2vla_sim.policies import check_policy
from vlm2vla_sim.policies.spec import read_policy_spec

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OTHERS = ("git", "ssh", "cd", "export", "for", "do", "done", "gcc", "vllm", "lerobot-eval", "inspect-robots")
"""Commands of the shell and of other programs that a page may use and nobody here can check."""

COMMANDS = all_commands()
RUNNABLE = [block for block in all_blocks("bash") if block.mark == "run"]


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
        episodes, suite = call.get("episodes", 1), str(call.get("suite", ""))
        assert episodes is None or isinstance(episodes, int)
        # A suite of the page's own is a file; the page runs it.
        run.settings(tasks=named, episodes=episodes, suite="" if suite.endswith(".toml") else suite)  # type: ignore[arg-type]


@functools.cache
def help_text(*words: str) -> str:
    """What `vlm2vla WORDS --help` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main([*words, "--help"]) == 0
    return printed.getvalue()


def flags_of(name: str) -> set[str]:
    """The flags of a command and of its subcommands."""
    text = help_text(name)
    found = re.search(r"\{([a-z][\w,-]*)\}", text.split("\n\n")[0])
    parts = [text, *(help_text(name, word) for word in (found[1].split(",") if found else ()))]
    return set(re.findall(r"--[a-z][\w-]*", "".join(parts)))


def script_flags(script: Path) -> set[str]:
    """The flags that a script of ours may take, as far as its source shows: literal ones, and names of arguments."""
    source = script.read_text(encoding="utf-8")
    names = re.findall(r"^ *(\w+): [\w| .,\[\]]+ = ", source, re.MULTILINE)
    names += re.findall(r"\b(\w+): [\w| .\[\]]+(?:=| =|,|\))", source)
    return set(re.findall(r"--[a-z][\w-]*", source)) | {f"--{name.replace('_', '-')}" for name in names}


def test_pages_are_found():
    assert len(PAGES) > 15
    assert len(of("vlm2vla")) > 30
    assert len(RUNNABLE) > 4
    assert {block.reason for block in RUNNABLE} <= {"", "data"}


def test_every_block_says_what_it_is_written_in():
    unmarked = [block.where for block in all_blocks("")]
    assert unmarked == [], "Write ```bash, ```python, ```text, ...; a block without a language is not checked."


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_every_command_is_one_that_is_checked(command):
    program = command.words[0]
    known = ("vlm2vla", "make", "pip", "python", *OTHERS)
    assert program in known or "=" in program, f"{program!r} is none of {known}."


@pytest.mark.parametrize("command", [*of("vlm2vla"), *of("python", "-m", "vlm2vla_sim")], ids=ids)
def test_every_vlm2vla_command_parses(command, monkeypatch, capsys, own_package):
    check(command.words[1 if command.words[0] == "vlm2vla" else 3 :], monkeypatch, capsys)


@pytest.mark.parametrize("command", of("make"), ids=ids)
def test_every_make_target_exists(command):
    for target in (word for word in command.words[1:] if "=" not in word and not word.startswith("-")):
        assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE), f"make has no target {target}."


@pytest.mark.parametrize("command", of("pip"), ids=ids)
def test_every_install_command_resolves_in_a_checkout(command):
    assert command.words[1] == "install"
    for word in command.words[2:]:
        if word.startswith("-") or ((ROOT / word / "pyproject.toml").is_file() and word != "."):
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
    used = {word for word in command.words[2:] if word.startswith("--")}
    assert used <= script_flags(ROOT / command.words[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_exist(page):
    for span in code_spans(page):
        words = span.split()
        if words[:3] == ["python", "-m", "vlm2vla_sim.mini"] and len(words) > 3:
            assert mini.renamed(words[3:4])[0] in mini.COMMANDS, span
        if words[0] == "vlm2vla" and len(words) > 1 and words[1].isidentifier() and words[1].islower():
            assert words[1].replace("_", "-") in cli.COMMANDS, span
        if words[0] == "vlm2vla" and len(words) > 1 and "-" in words[1] and not words[1].startswith("-"):
            assert words[1] in cli.COMMANDS, span
        if words[0] == "make" and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]):
            assert re.search(rf"^{words[1]}:", MAKEFILE, re.MULTILINE), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_in_the_text_exist(page):
    """A flag in code of the text is one of the command that it follows; alone, one of any command or benchmark."""
    known = {name: flags_of(name) for name in cli.COMMANDS}
    everywhere = set().union(*known.values(), *(script_flags(script) for script in (ROOT / "benchmarks").glob("*.py")))
    for span in code_spans(page):
        words = span.split()
        used = set(re.findall(r"(?<!\S)--[a-z][\w-]*", span))
        if words[0] == "vlm2vla" and len(words) > 1 and words[1] in known:
            assert used <= known[words[1]], span
        elif words[0] == "python" and len(words) > 1 and words[1].endswith(".py"):
            assert used <= script_flags(ROOT / words[1]), span
        elif span.startswith("--"):
            assert used <= everywhere, span


@pytest.mark.parametrize("block", all_blocks("toml"), ids=lambda block: block.where)
def test_every_policy_specification_and_suite_is_accepted(block, tmp_path):
    assert block.mark == "file"
    path = tmp_path / block.reason
    path.write_text(block.text, encoding="utf-8")
    if "[[condition]]" in block.text:
        assert get_suite(str(path)).name == path.stem
        return
    spec = read_policy_spec(path)
    check_policy(spec.policy, spec.options)


@pytest.mark.parametrize("block", RUNNABLE, ids=lambda block: block.where)
def test_a_block_that_is_marked_runs(block, monkeypatch, tmp_path, capsys):
    if block.reason == "data":
        pytest.importorskip("pyarrow")
    write_files(block.page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget_my_package()
    for command in commands(block):
        assert command.words[0] == "vlm2vla"
        assert cli.main(list(command.words[1:])) == 0, command
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "words",
    [
        ("rollout", "--task", "carrot_on_plate"),
        ("evaluate", "--polciy", "scripted"),
        ("evaluate", "--policy", "scriptedd"),
        ("evaluate", "--tasks", "carrot"),
        ("evaluat",),
        ("evaluate", "--policy", "vlm", "--model", "m", "--policy-options", "sampling=hot"),
    ],
)
def test_a_command_that_is_wrong_is_found(words, monkeypatch, capsys):
    from vlm2vla_sim.errors import Vlm2VlaError

    with pytest.raises((AssertionError, Vlm2VlaError)):
        check(words, monkeypatch, capsys)


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the pages call `my_package`, with the files that the pages show, in the working directory."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "policy.py").write_text("from vlm2vla_sim.policies.baselines import make_hold as make\n")
    for page in PAGES:
        write_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget_my_package()
    yield
    forget_my_package()


def forget_my_package() -> None:
    """The next test has another package of that name."""
    for name in [name for name in sys.modules if name.split(".")[0].startswith("my_")]:
        del sys.modules[name]
