"""Reads the pages of the documentation: fenced blocks, commands, links.

An HTML comment on the line before a block marks it, invisibly for readers. `<!-- run -->` runs a shell block, and
`<!-- run: data -->` does where that extra is installed; `<!-- not run: REASON -->` only compiles a Python block;
`<!-- file: PATH -->` makes a block a file in the working directory of the page's other blocks. A Python block that
starts with `# continues the block above` runs after that block, in the same process.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "examples/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
CONTINUES = "# continues the block above"
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w{}-]*) *$")
MARK = re.compile(r"<!-- (?P<mark>[\w ]+?)(?:: (?P<reason>.+?))? -->")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    """Of its first line of text, from 1."""
    language: str
    text: str
    mark: str = ""
    reason: str = ""

    @property
    def where(self) -> str:
        """For test ids and messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if not opening:
            number += 1
            continue
        indent = opening["indent"]
        end = next(
            k for k in range(number + 1, len(lines)) if lines[k].strip() == "```" and lines[k].startswith(indent)
        )
        mark = MARK.fullmatch(lines[number - 1].strip()) if number else None
        text = "\n".join(line.removeprefix(indent) for line in lines[number + 1 : end]) + "\n"
        marks = (mark["mark"], mark["reason"] or "") if mark else ("", "")
        found.append(Block(page, number + 2, opening["language"], text, *marks))
        number = end + 1
    return found


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in any of `languages`."""
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


@dataclass(frozen=True)
class Command:
    """One command line of a shell block."""

    where: str
    words: tuple[str, ...]


def commands(block: Block) -> list[Command]:
    """The command lines of a shell block, continuation lines joined, comments left out."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        for part in re.split(r" && | ; ", line):
            words = tuple(shlex.split(part, comments=True))
            if words:
                found.append(Command(block.where, words))
    return found


def all_commands() -> list[Command]:
    """The command lines of all pages."""
    return [command for block in all_blocks("bash") for command in commands(block)]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def code_spans(page: Path) -> list[str]:
    """What stands between single backticks outside blocks."""
    return re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", prose(page))


def links(page: Path) -> list[str]:
    """The targets of a page's links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def write_files(page: Path, folder: Path) -> None:
    """Write the page's blocks that are marked as files; a package gets its `__init__.py`."""
    for block in (block for block in blocks(page) if block.mark == "file"):
        path = folder / block.reason
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".py" and path.parent != folder:
            (path.parent / "__init__.py").touch()
        path.write_text(block.text, encoding="utf-8")
