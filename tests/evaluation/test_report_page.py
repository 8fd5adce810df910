"""The report in headless Chromium, opened from the disk, on a phone and on a desktop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import ESCAPE, RIGHT, Browser
from lane import cannot_run, need
from report_fakes import HOSTILE, decision, line, write_run, write_video

from vlm2vla_sim.evaluation.report.page import write_report

need("robot", "starlette")  # the report needs no package, but a browser, and that lane has one

PHONE, DESKTOP = (390, 844), (1280, 800)
CAUSES = ("missed_grasp", "dropped", "placed_outside")
DRAWN = "performance.getEntriesByName('drawn').length"
OPENING = "return performance.getEntriesByName('drawn')[0].startTime"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        cannot_run("robot", "needs Chromium and its driver: apt-get install chromium chromium-driver")
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """A page of two runs; some of its videos are embedded, some linked, one is gone; the words are hostile."""
    folder = tmp_path_factory.mktemp("two runs")
    runs = []
    for name, failing in (("first", (1,)), ("second", (0, 2, 3))):
        lines = [line("stack_cube", n, n not in failing, video=f"videos/{n}.mp4") for n in range(4)]
        for n in failing:
            lines[n].update(failure=CAUSES[n % 3], reason=HOSTILE, instruction=HOSTILE)
            lines[n]["decisions"] = [decision(0), decision(7, HOSTILE, error=HOSTILE, parse_failures=1)]
        run = write_run(folder / name, lines)
        for n in range(3):
            write_video(run / "videos" / f"{n}.mp4", shift=n)
        runs.append(run)
    size = (runs[0] / "videos" / "0.mp4").stat().st_size
    write_report(runs, folder / "report.html", limit_mb=3.6 * size / 1e6)
    return folder / "report.html"


def show(browser: Browser, page: Path, size: tuple[int, int] = DESKTOP) -> None:
    browser.resize(*size, phone=size == PHONE)
    browser.open(page.as_uri())
    browser.wait(DRAWN)


def shown(browser: Browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('.card .name bdi')].map(e => e.textContent)")


def test_a_gallery_of_500_episodes_opens_within_two_seconds(browser, tmp_path):
    lines = [line("stack_cube", n, n % 2 == 0, video=f"videos/{n % 10}.mp4") for n in range(500)]
    for n, one in enumerate(lines):
        if n % 2:
            one["failure"] = CAUSES[n % 3]
    run = write_run(tmp_path / "run", lines)
    for n in range(10):
        write_video(run / "videos" / f"{n}.mp4", 6, shift=n)
    write_report([run], tmp_path / "report.html", embed="always")
    times = []
    for _ in range(3):
        show(browser, tmp_path / "report.html")
        times.append(browser.run(OPENING))
    assert min(times) < 2000, times
    assert len(shown(browser)) == 250, "failures first"
    assert browser.run("const t = performance.now(); by('reset').click(); return performance.now() - t") < 2000
    assert len(shown(browser)) == 500
    filled = browser.run("return document.querySelectorAll('.card img').length")
    assert filled < 100, "a filmstrip is made when its card comes into sight"
    browser.run("window.scrollTo(0, document.body.scrollHeight)")
    browser.wait("[...document.querySelectorAll('.card')].at(-1).querySelector('img')?.naturalWidth === 640")


def test_the_cause_in_the_summary_leads_to_its_episodes_and_filters_narrow_them(browser, two):
    show(browser, two)
    assert shown(browser) == [f"stack_cube {n}" for n in (0, 3, 1, 2)], "failures by cause, the commonest first"
    browser.run("[...document.querySelectorAll('.verdict a')].find(a => a.textContent === '2 missed grasp').click()")
    assert shown(browser) == ["stack_cube 0", "stack_cube 3"]
    assert browser.run("return by('count').textContent") == "2 of 8 episodes"
    browser.run("by('reset').click()")
    assert len(shown(browser)) == 8
    for field, value, count in (("run", "0", 4), ("outcome", "failure", 1)):
        browser.run(
            f"by('{field}').value = '{value}'; by('{field}').dispatchEvent(new Event('input', {{bubbles: true}}))"
        )
        assert len(shown(browser)) == count
    browser.run("by('reset').click()")
    browser.keys("stack_cube 2", "words")
    assert shown(browser) == ["stack_cube 2", "stack_cube 2"]


@pytest.mark.parametrize("place", ["in", "linked"])
def test_an_embedded_and_a_linked_video_play_and_follow_the_steps(browser, two, place):
    show(browser, two)
    browser.run("by('reset').click()")
    wanted = "e => e.video === 'in'" if place == "in" else "e => e.video.endsWith('.mp4')"
    browser.run(f"document.querySelector(`.card[data-n='${{index.episodes.find({wanted}).n}}']`).click()")
    browser.wait("panels[0].video.readyState >= 2")
    assert browser.run("return panels[0].video.videoWidth") == 64
    browser.run("seek(7)")
    browser.wait("Math.abs(panels[0].video.currentTime - 1.4) < 0.05 && !panels[0].video.seeking")
    assert browser.run("return document.querySelector('.said .on b').textContent.trim()") == "Step 7 Grasp it"
    browser.keys(RIGHT)
    assert browser.run("return by('at_step').textContent") == "step 8 of 20"
    browser.keys(" ")
    browser.wait("clock.step > 11 && clock.playing")
    browser.keys(" ")
    assert browser.run("return clock.playing || !panels[0].video.paused") is False
    before = browser.run("return by('viewer_title').textContent")
    browser.keys("n")
    assert browser.run("return by('viewer_title').textContent") != before
    browser.keys("p")
    assert browser.run("return by('viewer_title').textContent") == before
    browser.keys(ESCAPE)
    browser.wait("!viewer.open && panels.length === 0")


def test_a_discordant_pair_plays_in_step(browser, two):
    show(browser, two)
    assert browser.run("return document.querySelectorAll('button.pair').length") == 4
    browser.run("document.querySelector('button.pair').click()")
    browser.wait("panels.length === 2 && panels.every(p => p.video.readyState >= 2)")
    assert browser.run("return panels.map(p => p.episode.run + ' ' + p.episode.outcome)") == ["0 success", "1 failure"]
    browser.run("by('speed').value = '1'; play(true)")
    browser.wait("clock.step > 3")
    apart = browser.run("return [...panels.map(p => p.video.currentTime * p.fps - clock.step)]")
    assert max(map(abs, apart)) < 1.5, "steps"
    browser.wait("!clock.playing", 30)
    assert browser.run("return clock.step === clock.last && panels.every(p => p.video.paused)") is True


def test_a_video_that_is_gone_leaves_the_words_and_a_reason(browser, two):
    show(browser, two)
    browser.run("by('reset').click(); open(index.episodes.find(e => e.id === 3).n)")
    assert "has no video" in browser.run("return document.querySelector('.picture').textContent")
    browser.run("play(true)")
    browser.wait("clock.step > 8")
    assert browser.run("return document.querySelectorAll('.said li').length") == 2


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_hostile_words_stay_words_and_nothing_is_wider_than_the_screen(browser, two, size):
    show(browser, two, size)
    wide = "return document.documentElement.scrollWidth <= window.innerWidth"
    assert browser.run(wide) is True
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.run(wide) is True
    browser.run("open(index.episodes.find(e => e.reason).n)")
    assert browser.run("return viewer.scrollWidth <= viewer.clientWidth") is True
    assert "</script>" in browser.run("return viewer.textContent")
    assert browser.run("return typeof window.hacked") == "undefined"
    assert browser.run("return document.querySelectorAll('[onerror], iframe, script[src]').length") == 0
    assert browser.run("return document.querySelectorAll('.lane .trouble, .flags .trouble').length") >= 2
    browser.run("window.tried = 0; document.head.append(make('script', { textContent: 'tried = 1' }))")
    assert browser.run("return tried") == 0, "no script but the page's own"


def test_the_page_prints_with_its_filmstrips_and_without_its_controls(browser, two):
    show(browser, two)
    browser.run("by('reset').click()")
    browser.command("Emulation.setEmulatedMedia", media="print")
    hidden = browser.run("return ['nav', '#filters'].map(s => getComputedStyle(document.querySelector(s)).display)")
    assert hidden == ["none", "none"]
    assert len(browser.command("Page.printToPDF")["data"]) > 20_000
    assert browser.run("return document.querySelectorAll('.card img').length") == 6, "two videos are gone"
    browser.command("Emulation.setEmulatedMedia", media="")
