"""`vlm2vla …`: finds the command, runs it, prints its answer, and turns errors into a sentence and an exit status.

Commands are named here and imported when they are chosen, so that `vlm2vla --help` answers at once however heavy they
become. A command is a function that takes flags and returns a
`CommandResult`; it neither exits nor catches our errors.

Exit status: 0 done, 1 an error, in a sentence, 2 wrong usage, 3 every episode broke, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from vlm2vla_sim.errors import Vlm2VlaError, unknown_name

COMMANDS = {
    "rollout": ("vlm2vla_sim.cli.commands.rollout:rollout", "one episode: what the policy says, and a video"),
    "evaluate": ("vlm2vla_sim.cli.commands.evaluate:evaluate", "tasks x episodes: success rates, videos, resumable"),
    "record": ("vlm2vla_sim.cli.commands.record:record", "demonstrations from any policy, as a LeRobot folder"),
    "relabel": ("vlm2vla_sim.cli.commands.relabel:relabel", "put recorded motion into words: subtasks, plans, actions"),
    "inspect": ("vlm2vla_sim.cli.commands.inspect:inspect", "a page with a data set's pictures, words and paths"),
    "trace": ("vlm2vla_sim.cli.commands.trace:trace", "an episode of a run, read as a dialogue"),
    "tasks": ("vlm2vla_sim.cli.commands.tasks:tasks", "the tasks, their instructions and lengths"),
    "formats": (
        "vlm2vla_sim.cli.commands.formats:formats",
        "what a sentence means, and how every format would write it",
    ),
    "assets": ("vlm2vla_sim.cli.commands.assets:assets", "SIMPLER's meshes and photos: status, download, link DIR"),
    "robot": ("vlm2vla_sim.cli.commands.robot:robot", "a real WidowX: sessions, a stand-in, a link that breaks, sleep"),
    "watch": ("vlm2vla_sim.cli.commands.watch:watch", "a session live in the browser, with the operator's buttons"),
    "train": ("vlm2vla_sim.cli.commands.train:train", "a LoRA adapter, or a whole model, from relabelled trajectories"),
    "vqa": ("vlm2vla_sim.cli.commands.vqa:vqa", "what an adapter forgot: questions, base beside tuned, with intervals"),
    "logprob": ("vlm2vla_sim.cli.commands.logprob:logprob", "how likely a base model finds each way to write a motion"),
    "serve-model": (
        "vlm2vla_sim.cli.commands.serve_model:serve_model",
        "offer a model to others, in the way of OpenAI",
    ),
    "serve": ("vlm2vla_sim.cli.commands.serve:serve", "offer a policy to others, over openpi's wire or vla-eval's"),
    "doctor": ("vlm2vla_sim.cli.commands.doctor:doctor", "what is installed, what works, what to do about the rest"),
}
"""Name -> "module:function" and one line of help."""

OK, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default the process's own) and return the exit status."""
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
        return ERROR
    except KeyboardInterrupt as stop:
        if debug:
            raise
        print(f"\n{str(stop) or 'Interrupted.'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`vlm2vla tasks | head`); Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR


def help_text() -> str:
    """What `vlm2vla --help` prints."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: vlm2vla COMMAND [options]     (vlm2vla COMMAND --help says more)",
            "",
            "Let a vision-language model that speaks its actions move a WidowX robot.",
            "",
            *(f"  {name.ljust(width)}  {line}" for name, (_, line) in COMMANDS.items()),
            "",
            "  --version, --help, and with any command --debug (or VLM2VLA_DEBUG=1): show where an error came from.",
            "Exit status: 0 done, 1 error, 2 wrong usage, 3 every episode broke, 130 stopped by Ctrl-C.",
        ]
    )


def _run(name: str, words: list[str]) -> int:
    if name not in COMMANDS:
        print(f"vlm2vla: {unknown_name('command', name, COMMANDS)}", file=sys.stderr)
        return USAGE
    import tyro

    module, function = COMMANDS[name][0].split(":")
    command = getattr(importlib.import_module(module), function)
    try:
        answer = tyro.cli(
            command,
            prog=f"vlm2vla {name}",
            args=words,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
        )
    except SystemExit as leave:  # tyro's way to end after --help and after wrong usage
        return int(leave.code or 0)
    print(answer.printed())
    sys.stdout.flush()
    return answer.code


def _print_version() -> int:
    from vlm2vla_sim.core.versions import collect_versions
    from vlm2vla_sim.language.prompts import prompts_hash

    print(" ".join(f"{name} {version}" for name, version in collect_versions(prompts=prompts_hash()).items()))
    return OK


if __name__ == "__main__":
    sys.exit(main())
