"""The files of a page that loads nothing from a network, and the policy that holds it to that."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import vlm2vla_sim.evaluation.report as package


def read_file(name: str) -> str:
    """The text of a file of this folder's `files`."""
    return (files(package) / "files" / name).read_text(encoding="utf-8")


def style() -> str:
    """The style of every page that is written: the report's, and that of labelled data sets."""
    return read_file("report.css")


def content_policy(css: str, script: str = "") -> str:
    """The content security policy: nothing from a network, and no style or script but the page's own, by digest."""
    scripts = f"script-src {_digest(script)}; " if script else ""
    return (
        f"default-src 'none'; style-src {_digest(css)}; {scripts}img-src data:; "
        "media-src 'self' blob: file:; base-uri 'none'; form-action 'none'"
    )


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
