"""The command line `vlm2vla`: runs a command, prints its result, and turns errors into one sentence and an exit status.

A command is a function whose parameters are its flags. It returns a `CommandResult`, does not exit, and does not catch
the errors of `vlm2vla_sim.errors`. Its module is imported when the command is chosen, so `vlm2vla --help` is fast.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from vlm2vla_sim.cli.repeated import check_repeated
from vlm2vla_sim.cli.result import ALL_ERRORS, SOME_ERRORS, STOPPED, TOO_LOW
from vlm2vla_sim.cli.signals import INTERRUPTED, exit_status
from vlm2vla_sim.core.terminal import to_stderr
from vlm2vla_sim.errors import Vlm2VlaError, unknown_name

COMMANDS = {
    "rollout": ("vlm2vla_sim.cli.commands.rollout:rollout", "run one episode, print the model's text, save a video"),
    "evaluate": (
        "vlm2vla_sim.cli.commands.evaluate:evaluate",
        "run tasks x episodes and report success rates with 95 % CIs; resumable",
    ),
    "merge": ("vlm2vla_sim.cli.commands.merge:merge", "merge the shards of a run into one run folder"),
    "compare": (
        "vlm2vla_sim.cli.commands.compare:compare",
        "compare runs episode by episode: which is worse, where, and how sure",
    ),
    "report": (
        "vlm2vla_sim.cli.commands.report:report",
        "write an HTML page of runs: rates, failures by cause, videos, comparison",
    ),
    "record": ("vlm2vla_sim.cli.commands.record:record", "record demonstrations from any policy as a LeRobot dataset"),
    "relabel": (
        "vlm2vla_sim.cli.commands.relabel:relabel",
        "label recorded trajectories in language: subtasks, plans, actions",
    ),
    "convert": ("vlm2vla_sim.cli.commands.convert:convert", "write a dataset as a LeRobot folder, v3 or v2.1"),
    "inspect": (
        "vlm2vla_sim.cli.commands.inspect:inspect",
        "write an HTML page of a dataset: images, labels, trajectories",
    ),
    "trace": (
        "vlm2vla_sim.cli.commands.trace:trace",
        "print one episode of a run: what the model was asked and answered",
    ),
    "tasks": ("vlm2vla_sim.cli.commands.tasks:tasks", "list the tasks, their instructions and episode lengths"),
    "suites": ("vlm2vla_sim.cli.commands.suites:suites", "list the evaluation suites, or the conditions of one"),
    "formats": (
        "vlm2vla_sim.cli.commands.formats:formats",
        "list the action formats; show a given action text in all of them",
    ),
    "assets": ("vlm2vla_sim.cli.commands.assets:assets", "check, download or link SIMPLER's meshes and photos"),
    "robot": (
        "vlm2vla_sim.cli.commands.robot:robot",
        "real WidowX: examination, evaluation sessions, mock robot, fault proxy, sleep pose",
    ),
    "watch": (
        "vlm2vla_sim.cli.commands.watch:watch",
        "follow a session live in the browser, with the operator's buttons",
    ),
    "zero-shot-examples": (
        "vlm2vla_sim.cli.commands.zero_shot_examples:zero_shot_examples",
        "record decisions of the scripted policy that the prompts of a zero-shot model show",
    ),
    "train": ("vlm2vla_sim.cli.commands.train:train", "train a LoRA adapter or all weights on labelled trajectories"),
    "export": (
        "vlm2vla_sim.cli.commands.export:export",
        "write a model as vLLM reads it, or rows for TRL, LLaMA-Factory, OpenAI",
    ),
    "vqa": ("vlm2vla_sim.cli.commands.vqa:vqa", "measure VQA retention, base vs. tuned model, with 95 % CIs"),
    "logprob": (
        "vlm2vla_sim.cli.commands.logprob:logprob",
        "compare the log-likelihood of the action formats under a base model",
    ),
    "serve-model": (
        "vlm2vla_sim.cli.commands.serve_model:serve_model",
        "serve a vision-language model over an OpenAI-compatible API",
    ),
    "serve": (
        "vlm2vla_sim.cli.commands.serve:serve",
        "serve a policy over the openpi or vla-eval protocol, or POST /act",
    ),
    "doctor": ("vlm2vla_sim.cli.commands.doctor:doctor", "check the installation and say what to install"),
}
"""Command -> "module:function" and its line in `vlm2vla --help`."""

OK, ERROR, USAGE = 0, 1, 2
EXIT_STATUS = (
    f"Exit status: {OK} completed, {ERROR} error, {USAGE} wrong usage, {ALL_ERRORS} all episodes ended in an error, "
    f"{SOME_ERRORS} some did,\n{TOO_LOW} a required success rate is not reached, {STOPPED} the operator stopped the "
    f"session, {INTERRUPTED} interrupted with Ctrl-C,\n143 and 129 a session that SIGTERM or SIGHUP ended (`vlm2vla "
    "compare` has its own)."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, by default that of the process, and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        _escape_unprintable(stream)
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or os.environ.get("VLM2VLA_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return OK if words else USAGE
    if words[0] in ("--version", "version"):
        return _print_version()
    try:
        return _run(words[0], words[1:])
    except Vlm2VlaError as error:
        if debug:
            raise
        print(f"vlm2vla {words[0]}: {error}", file=sys.stderr)
        return _error_status(words[0])
    except KeyboardInterrupt as stop:
        if debug:
            raise
        to_stderr(f"\n{str(stop) or 'Interrupted.'}\n")
        return exit_status(stop)
    except BrokenPipeError:
        # The reader closed the pipe (`vlm2vla tasks | head`). Without this, Python reports it again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _error_status(words[0])
    except OSError as error:
        # Of a file that is read; one that is written is checked first (`core.file_names`).
        if debug or error.errno != errno.ENAMETOOLONG:
            raise
        print(
            f"vlm2vla {words[0]}: There is no file or folder {error.filename!r}: the name is too long.", file=sys.stderr
        )
        return _error_status(words[0])


def help_text() -> str:
    """The text of `vlm2vla --help`."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: vlm2vla COMMAND [options]",
            "",
            "Vision-language models that write robot actions as text, on a simulated or real WidowX.",
            "",
            *(f"  {name.ljust(width)}  {line}" for name, (_, line) in COMMANDS.items()),
            "",
            "  vlm2vla COMMAND --help   options of a command",
            "  vlm2vla --version        versions of this package and its main dependencies",
            "  --debug                  with any command, show the traceback of an error (or set VLM2VLA_DEBUG=1)",
            "",
            EXIT_STATUS,
        ]
    )


RENAMED = {("robot", "stand-in"): "mock-server"}
"""(command, former name of a subcommand) -> its name. The former one still works, with a notice."""


def _run(name: str, words: list[str]) -> int:
    if words and (name, words[0]) in RENAMED:
        now = RENAMED[name, words[0]]
        print(f"vlm2vla {name} {words[0]} is called `vlm2vla {name} {now}` now.", file=sys.stderr)
        words = [now, *words[1:]]
    if name not in COMMANDS:
        print(f"vlm2vla: {unknown_name('command', name, COMMANDS)}", file=sys.stderr)
        return USAGE
    import tyro

    command = _find(name)
    check_repeated(command, words)
    try:
        answer = tyro.cli(
            command,
            prog=f"vlm2vla {name}",
            args=words,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
        )
    except SystemExit as leave:  # raised by tyro after --help and after wrong usage
        return getattr(command, "error_status", int(leave.code)) if leave.code else OK
    try:
        print(answer.printed())
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, for one
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        to_stderr(f"vlm2vla {name}: The output cannot be written: {error.strerror}.\n")
        return answer.code or ERROR
    return answer.code


def _find(name: str) -> Any:
    """The function of a command. An attribute `error_status` replaces the exit status of an error or wrong usage."""
    module, function = COMMANDS[name][0].split(":")
    return getattr(importlib.import_module(module), function)


def _error_status(name: str) -> int:
    """The exit status of an error in a command, which may be one of importing its module."""
    module, function = COMMANDS[name][0].split(":")
    return getattr(getattr(sys.modules.get(module), function, None), "error_status", ERROR)


def _escape_unprintable(stream: TextIO) -> None:
    """Let `stream` write characters that its encoding lacks as escapes, instead of raising UnicodeEncodeError."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _print_version() -> int:
    from vlm2vla_sim.core.versions import collect_versions
    from vlm2vla_sim.language.prompts import prompts_hash

    print(" ".join(f"{name} {version}" for name, version in collect_versions(prompts=prompts_hash()).items()))
    return OK


if __name__ == "__main__":
    sys.exit(main())
