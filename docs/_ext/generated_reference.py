"""Two Sphinx directives that write the reference pages from the code.

`cli-reference` shows what `vlm2vla COMMAND --help` prints, for every command and subcommand. `api-reference` documents
the objects named in its body, or, with the option `all`, every public name of a module (`__all__`). Pages written by
hand would be false after the first renamed flag or function.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import re
from typing import Any, ClassVar
from unittest import mock

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from vlm2vla_sim.cli.main import COMMANDS, main

logger = logging.getLogger(__name__)

WIDTH = 88
"""Columns of a help text."""
MARKUP = re.compile(r"[*|](?! |$)|(?<=\S)[*|]")


def help_of(*words: str) -> str:
    """What `vlm2vla WORDS --help` prints, without colours."""
    printed = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}), contextlib.redirect_stdout(printed):
        status = main([*words, "--help"])
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())
    if status or not text.strip():
        raise RuntimeError(f"`vlm2vla {' '.join(words)} --help` ended with status {status} and printed: {text!r}")
    return text.strip() + "\n"


def subcommands(help_text: str) -> list[str]:
    """The subcommands that a usage line offers: "usage: vlm2vla robot [-h] {session,sleep}".

    Not the values of an option: "usage: vlm2vla export [-h] FOLDER --for {vllm}".
    """
    usage = help_text.split("\n\n")[0]
    found = re.search(r"\[-h\]\s+\[?\{([a-z][\w,-]*)\}", usage)
    return found[1].split(",") if found else []


class CliReference(SphinxDirective):
    """One section per command."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        return [self._section((), "vlm2vla"), *(self._section((name,), f"vlm2vla {name}") for name in COMMANDS)]

    def _section(self, words: tuple[str, ...], title: str) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
        section += nodes.title("", "", nodes.literal("", title))
        text = help_of(*words)
        section += nodes.literal_block(text, text, language="none")
        section += [self._section((*words, name), f"{title} {name}") for name in (subcommands(text) if words else [])]
        self.state.document.note_explicit_target(section)
        return section


class ApiReference(SphinxDirective):
    """`autodoc` for dotted names, one a line in the body; in Markdown it stands inside an `eval-rst` block."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"all": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """The documentation of every object."""
        module = self.options.get("all")
        names = [line.strip() for line in self.content if line.strip()]
        if module:
            names += [f"{module}.{name}" for name in importlib.import_module(module).__all__ if name != "__version__"]
        lines = StringList()
        for name in names:
            for line in autodoc_lines(name):
                lines.append(line, source="api-reference")
        node = nodes.Element()
        self.state.nested_parse(lines, self.content_offset, node)
        return node.children


def autodoc_lines(name: str) -> list[str]:
    """The autodoc directive for the object with this dotted name."""
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute, None)
    if found is None:
        logger.warning("The API reference names %s, which does not exist.", name)
        return []
    if inspect.isclass(found):
        fields = ["   :undoc-members:"] if dataclasses.is_dataclass(found) else []
        return [f".. autoclass:: {name}", "   :members:", *fields, ""]
    if callable(found):
        return [f".. autofunction:: {name}", ""]
    entries = ", ".join(f"``{key}``" for key in found)
    return [f".. py:data:: {name}", "", f"   A mapping with these entries: {entries}.", ""]


def read_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Read a plain docstring in Google's style; `*` and `|` are no markup, code between backticks stays as it is.

    Sphinx's own extension for that style takes the words before the first colon of an attribute's docstring for a type.
    """
    for number, line in enumerate(lines):
        parts = re.split(r"(`+[^`]*`+)", line)
        escaped = (part if part.startswith("`") else re.sub(MARKUP, r"\\\g<0>", part) for part in parts)
        lines[number] = "".join(escaped)
    if what not in ("attribute", "property", "data"):
        lines[:] = GoogleDocstring(lines, Config(), app, what, name, obj, options).lines()


def hide_fields(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str, str] | None:
    """A dataclass has its fields below; a signature would repeat them."""
    del app, name, options, signature, returned
    return ("", "") if what == "class" and dataclasses.is_dataclass(obj) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives and hooks."""
    app.add_directive("cli-reference", CliReference)
    app.add_directive("api-reference", ApiReference)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", hide_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
