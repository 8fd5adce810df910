"""The site builds without a warning and holds every command and public name; the notebook runs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT
from lane import cannot_run

PACKAGES = ("sphinx", "furo", "myst_parser", "nbclient", "nbformat", "ipykernel")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
if MISSING:
    cannot_run("docs", f"needs {', '.join(MISSING)}: run `make test-docs`", module=True)

import nbclient  # noqa: E402
import nbformat  # noqa: E402

import vlm2vla_sim  # noqa: E402
from vlm2vla_sim.cli.main import COMMANDS  # noqa: E402

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html", "-d"]
    done = subprocess.run(
        [*command, str(out / "trees"), "docs", str(out / "html")],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "html"


def test_the_site_has_every_page(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not (site / page).with_suffix(".html").is_file()} == set()


def test_the_command_reference_has_every_command_and_its_flags(site):
    page = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f'id="vlm2vla-{name}"' in page, name
    for words in ("vlm2vla-robot-session", "--episode-timeout", "--policy-options"):
        assert words in page


def test_the_api_reference_has_every_public_name(site):
    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for name in set(vlm2vla_sim.__all__) - {"__version__"}:
        assert f'id="vlm2vla_sim.{name}"' in page or f".{name}" in page, name


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "Clear the outputs before committing."
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("success" in output.get("text", "") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
