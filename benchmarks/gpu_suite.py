"""Everything that needs a GPU, in at most nine minutes and without a network; `gpu_suite.sh` calls it.

    python benchmarks/gpu_suite.py pack .wheels           # where there is a network: what the other machine lacks
    WHEELS=.wheels bash benchmarks/gpu_suite.sh out       # on the machine with the GPU
    python benchmarks/gpu_suite.py table out              # the tables of benchmarks/README.md

Each part is a process with a time limit of its own and writes its own JSON file, anew after every row, so that a run
that is stopped keeps what it measured. What could not be measured is null, with the reason. `run --rehearse` goes
through all of it in tiny sizes on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu_parts.report import Report, write_json

PARTS = {"latency-4b": 110, "lora": 80, "latency-12b": 180, "drawing": 40, "study": 540}
"""The most valuable first -> its time limit [s]. `--limit` bounds the sum; the last part has what is left."""
LIMIT = 505
"""[s] of all parts; installing the wheels comes before."""
LEAST = 15
"""[s] Less is not enough for any part."""
LOG = "suite.log"


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="measure")
    run_parser.add_argument("folder", type=Path, help="for a JSON file of each part, and a log")
    run_parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    run_parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for all parts")
    run_parser.add_argument("--mini", type=Path, help="folder of `make mini`, for the study")
    run_parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on a CPU as well")
    table_parser = commands.add_parser("table", help="print the tables in Markdown")
    table_parser.add_argument("folder", type=Path, nargs="?", help="of the JSON files; without it nothing was measured")
    pack_parser = commands.add_parser("pack", help="download the wheels for a machine without a network")
    pack_parser.add_argument("folder", type=Path)
    pack_parser.add_argument("--python", default="3.12", help="Python's version on that machine")
    pack_parser.add_argument("--print-wheels", action="store_true", help="only list them")
    part_parser = commands.add_parser("part", help="measure one part in this process (used by run)")
    part_parser.add_argument("name", choices=list(PARTS))
    part_parser.add_argument("folder", type=Path)
    part_parser.add_argument("--seconds", type=float, default=LIMIT)
    part_parser.add_argument("--mini", type=Path)
    part_parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    {"run": run, "table": table, "pack": pack, "part": part}[options.command](options)


def run(options: argparse.Namespace) -> None:
    """Run the parts one after another."""
    options.folder.mkdir(parents=True, exist_ok=True)
    stop = time.monotonic() + options.limit
    for name in options.parts:
        most = PARTS[name] * (4 if options.rehearse else 1)  # of a CPU nothing is expected
        left = min(most, stop - time.monotonic())
        path = options.folder / f"{name}.json"
        path.unlink(missing_ok=True)
        failure = run_part(name, options, left) if left >= LEAST else "not measured: no time was left"
        values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if values is None:
            Report(path, name, rehearsal=options.rehearse).finish(failure or "not measured: the part wrote nothing")
        elif failure:
            write_json(path, values | {"complete": False, "reason": failure})
        print(describe(path), flush=True)


def run_part(name: str, options: argparse.Namespace, seconds: float) -> str:
    """Measure a part in a process of its own; why it did not end well, or empty."""
    words = [sys.executable, __file__, "part", name, str(options.folder), "--seconds", f"{seconds - LEAST / 3:.0f}"]
    words += [*(["--rehearse"] if options.rehearse else []), *(["--mini", str(options.mini)] if options.mini else [])]
    log = options.folder / LOG
    with log.open("ab") as file:
        file.write(f"== {name}\n".encode())
        file.flush()
        try:
            code = subprocess.run(words, stdout=file, stderr=file, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            return f"stopped after {seconds:.0f} s; the rows before that are kept"
    if not code:
        return ""
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
    return f"ended with exit status {code}: {last[:200]}"


def describe(path: Path) -> str:
    """A line about what a part measured."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    told = f"{values['part']}: {len(values['rows'])} rows in {values['seconds']:.0f} s"
    return told + (f"; {values['reason']}" if values["reason"] else "")


def part(options: argparse.Namespace) -> None:
    """Measure one part in this process."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    report = Report(options.folder / f"{options.name}.json", options.name, rehearsal=options.rehearse)
    if report.values["machine"]["gpu"] is None and not options.rehearse and options.name != "study":
        report.finish("not measured: torch finds no GPU")
    elif options.name.startswith("latency"):
        from gpu_parts import latency

        model = f"google/gemma-3-{options.name.removeprefix('latency-')}-it"
        latency.measure(report, model=model, rehearse=options.rehearse)
    elif options.name == "lora":
        from gpu_parts import lora

        lora.measure(report, rehearse=options.rehearse)
    elif options.name == "drawing":
        if report.values["machine"]["gpu"] is not None:
            os.environ.setdefault("MUJOCO_GL", "egl")
        from gpu_parts import drawing

        drawing.measure(report, rehearse=options.rehearse)
    else:
        from gpu_parts import study

        study.measure(report, folder=options.mini, seconds=options.seconds)


def table(options: argparse.Namespace) -> None:
    """Print the tables."""
    from gpu_parts.table import render

    print(render(options.folder, list(PARTS)), end="")


def pack(options: argparse.Namespace) -> None:
    """Download the wheels and print the size of all; or list them."""
    from gpu_parts import wheels

    if options.print_wheels:
        print("\n".join(wheels.requirements()))
        return
    size = wheels.pack(options.folder, python=options.python)
    print(f"{options.folder}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
