"""The page about labelled trajectories in headless Chromium, opened from the disk, on a phone and on a desktop."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import ENTER, Browser
from lane import cannot_run, need
from report_fakes import HOSTILE, picture
from trajectory_fakes import trajectory

from vlm2vla_sim.data.episode import Agreement, LabelledTrajectory
from vlm2vla_sim.data.inspect_page.page import OPEN, write_page
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.envs.cameras import Camera

need("robot", "starlette")  # the page needs no package, but a browser, and that lane has one

PHONE, DESKTOP = (390, 844), (1280, 800)
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


class Pictures:
    """Images with as much in them as a camera's, the same eight for all."""

    made = tuple(picture(number, (180, 240)) for number in range(8))

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int):
        return self.made[index % len(self.made)]


def labelled(number: int, **changes) -> LabelledTrajectory:
    """A pick and place; every second one has a known camera."""
    plain = trajectory(name=f"fake/{number:03}", instruction=changes.pop("instruction", "put carrot on plate"))
    camera = Camera((0.0, -0.2, 0.5), look_at=(0.4, 0.0, 0.1)) if number % 2 else None
    made = relabel(dataclasses.replace(plain, images=Pictures(len(plain)), camera=camera))
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        cannot_run("robot", "needs Chromium and its driver: apt-get install chromium chromium-driver")
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """500 trajectories: one is hostile, and labels of a model that differ from the rules'."""
    path = tmp_path_factory.mktemp("inspect") / "page.html"
    base = [labelled(0), labelled(1)]
    found = []
    for number in range(500):
        one = base[number % 2]
        found.append(dataclasses.replace(one, trajectory=dataclasses.replace(one.trajectory, name=f"fake/{number:03}")))
    found[77] = labelled(77, instruction=HOSTILE, agreement=Agreement(0.0, 0.5, None, (HOSTILE,)))
    assert write_page(path, HOSTILE, found) == 500
    return path


def show(browser: Browser, page: Path, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
    browser.resize(*size, phone=size == PHONE, dark=dark)
    browser.open(page.as_uri())
    browser.wait("document.readyState === 'complete'")


def renderer_seconds(browser: Browser) -> float:
    """CPU time of the page's main thread: other work on the machine does not lengthen it."""
    metrics = browser.command("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "ThreadTime")


def test_500_trajectories_cost_the_browser_less_than_two_seconds(browser, page):
    browser.command("Performance.enable")
    browser.open("about:blank")
    before = renderer_seconds(browser)
    show(browser, page)
    browser.wait(LOADED)
    after = renderer_seconds(browser)
    spent = after - before if after > before else after  # a page may get a process of its own
    assert 0.01 < spent < 2.0
    assert browser.run("return document.querySelectorAll('.trajectory').length") == 500
    assert browser.run("return document.querySelectorAll('.trajectory[open]').length") == OPEN


def test_a_link_and_a_key_open_a_trajectory_and_its_words_stand_beside_its_images(browser, page):
    show(browser, page)
    browser.run("location.hash = '#t300'")
    browser.wait("document.getElementById('t300').checkVisibility()")
    top = browser.run("return document.getElementById('t300').getBoundingClientRect().top")
    assert 0 <= top < 300, "below the header that stays"
    beside = browser.run(
        "return [...document.querySelectorAll('#t300 .phase')].map(phase => {"
        "const [frame, words] = phase.children;"
        "const a = frame.getBoundingClientRect(), b = words.getBoundingClientRect();"
        "return b.left >= a.right && Math.abs(a.top - b.top) < 2 && frame.querySelector('img').naturalWidth})"
    )
    assert beside == [240] * 7
    browser.run("const s = document.querySelectorAll('.trajectory')[40].firstElementChild; s.id = 'forty'; s.focus()")
    browser.keys(ENTER)
    browser.wait("document.querySelectorAll('.trajectory')[40].open")


def test_the_path_lies_exactly_on_the_image(browser, page):
    show(browser, page, PHONE)
    inside = browser.run(
        "return [...document.querySelectorAll('.trajectory[open] .over')].slice(0, 12).map(over => {"
        "const a = over.getBoundingClientRect(), b = over.parentElement.querySelector('img').getBoundingClientRect();"
        "return Math.max(Math.abs(a.left - b.left), Math.abs(a.top - b.top), Math.abs(a.width - b.width),"
        "Math.abs(a.height - b.height), Math.abs(a.width / a.height - 4 / 3))})"
    )
    assert len(inside) == 12
    assert max(inside) < 0.6, "pixels"


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_hostile_words_stay_words_and_nothing_is_wider_than_the_screen(browser, page, size):
    show(browser, page, size)
    browser.run("document.querySelectorAll('.trajectory').forEach((one, n) => one.open = n < 20)")
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth") is True
    # What is outside a section is cut off there, which the width of the page does not show.
    outside = browser.run(
        "return [...document.querySelectorAll('.trajectory[open] *, .charts *')].filter(e => !e.closest('svg')"
        " && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.className || e.tagName).slice(0, 5)"
    )
    assert outside == []
    assert "</script>" in browser.run("return document.getElementById('t0').textContent")
    assert browser.run("return typeof window.hacked") == "undefined"
    assert browser.run("return document.querySelectorAll('script, iframe, [onerror], [style]').length") == 0
    small = browser.run(
        "return [...document.querySelectorAll('.trajectory > summary, .way-on a, nav a')].slice(0, 60)"
        ".filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 36).length"
    )
    assert small == 0, "what a finger has to hit"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_can_be_read_on_a_light_and_a_dark_ground(browser, page, dark):
    show(browser, page, dark=dark)
    lightness = (
        "const of = value => { const [r, g, b] = value.match(/[\\d.]+/g).map(Number).map(v => v / 255)"
        ".map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);"
        "return 0.2126 * r + 0.7152 * g + 0.0722 * b; };"
        "const card = of(getComputedStyle(document.querySelector('section')).backgroundColor);"
        "return [card, ...['.subtask', '.what', '.bars th', '.trajectory summary', '.trouble-text'].map(name => {"
        "const a = of(getComputedStyle(document.querySelector(name)).color);"
        "return (Math.max(a, card) + 0.05) / (Math.min(a, card) + 0.05)})]"
    )
    card, *contrasts = browser.run(lightness)
    assert (card < 0.05) is dark
    assert min(contrasts) >= 4.5, contrasts
