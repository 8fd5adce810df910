"""Links lead somewhere, files and tests that pages name exist, and every page is in the site."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, blocks, code_spans, links

from vlm2vla_sim.types import EpisodeResult

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TESTS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    cleaned = (re.sub(r"[^\w\- ]", "", title.lower()).strip() for title in titles)
    return {re.sub(r" ", "-", title) for title in cleaned}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page):
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{ids(page)}: {link}"
        assert ROOT in target.parents, f"{ids(page)}: {link} leads out of the repository"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{ids(page)}: {link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_test_that_a_page_names_exists(page):
    for name in (span for span in code_spans(page) if re.fullmatch(r"test_\w+", span)):
        assert f"def {name}(" in TESTS, f"{ids(page)}: {name}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ("log.md",)], ids=ids)
def test_every_file_that_a_page_names_exists(page):
    roots = [ROOT, ROOT / "vlm2vla_sim", ROOT / "tests", page.parent]
    for span in code_spans(page):
        if not re.fullmatch(r"[\w./-]+/[\w./-]*\.(py|md|txt|toml|svg|jpg|yaml)|[\w-]+(/[\w-]+)+/", span):
            continue
        if span.split("/")[0] in ("runs", "my_package", "build", "live", "videos", "logs"):
            continue  # what a command makes
        assert any((root / span).exists() for root in roots), f"{ids(page)}: {span}"


@pytest.mark.parametrize("page", [page for page in PAGES if ROOT / "docs" in page.parents], ids=ids)
def test_every_page_of_the_docs_is_in_the_site(page):
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    name = str(page.relative_to(ROOT / "docs").with_suffix(""))
    patterns = [line.strip() for line in index.splitlines()]
    listed = any(
        Path(name).match(pattern) for pattern in patterns if pattern and not pattern.startswith((":", "`", "#"))
    )
    assert listed or name == "index", f"{name} is in no table of contents of docs/index.md"


def test_the_readme_is_short_and_says_how_to_begin():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "make demo" in text
    assert "make test" in text


def test_images_of_the_readme_come_with_the_source_archive():
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert images
    for image in images:
        assert image.split("/")[0] in included, image


def test_the_long_description_has_no_link_that_leads_nowhere_on_a_package_index():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []
    assert "*Image `docs/images/demo.jpg` in the source archive: One frame from each" in text
    assert "Concepts (`docs/concepts.md`)" in text


def test_the_results_page_names_every_key_of_a_line_and_no_other():
    page = (ROOT / "docs" / "howto" / "read_the_results.md").read_text(encoding="utf-8")
    table = page[page.index("| key of a line |") :]
    rows = [line for line in table.splitlines()[2:] if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == {field.name for field in dataclasses.fields(EpisodeResult)}


ARCHITECTURE = ROOT / "docs" / "architecture.md"


def test_the_tree_in_the_architecture_page_exists_and_has_every_room():
    [tree] = [block for block in blocks(ARCHITECTURE) if block.text.startswith("vlm2vla_sim/")]
    folders: list[str] = []
    named: set[str] = set()
    for line in tree.text.splitlines():
        entry = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], entry]
        path = "".join(folders)
        assert (ROOT / path).exists(), path
        named.add(path)
    rooms = {
        f"vlm2vla_sim/{path.name}/" for path in (ROOT / "vlm2vla_sim").iterdir() if (path / "__init__.py").exists()
    }
    assert rooms <= named


def test_the_floors_in_the_architecture_page_are_those_that_are_tested():
    tested = re.search(
        r"^FLOORS = \((.*?)^\)", (ROOT / "tests" / "test_layers.py").read_text(), re.MULTILINE | re.DOTALL
    )
    assert tested
    floors = [re.findall(r'"(\w+)"', line) for line in tested[1].splitlines() if line.strip()]
    written = re.findall(r"^\| (\d) \| (.+) \|$", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [re.findall(r"`(\w+)`", rooms) for _, rooms in sorted(written)] == floors
