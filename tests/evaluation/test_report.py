"""The report as a file: what it says without a script, what it refuses to show, and what it says is missing."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_fakes import HOSTILE, ROWS, decision, line, picture, write_run, write_video

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.report.episode_data import gripper
from vlm2vla_sim.evaluation.report.page import write_report
from vlm2vla_sim.evaluation.report.pictures import filmstrip
from vlm2vla_sim.types import EpisodeResult


class Page(html.parser.HTMLParser):
    """The elements of a page, its visible text, and its data blocks."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, str] = {}
        self.source = path.read_text(encoding="utf-8")
        self.words: list[str] = []
        self._inside = ""
        self.feed(self.source)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[self._inside] = self.blocks.get(self._inside, "") + data
        else:
            self.words.append(data)


def page_of(tmp_path: Path, *runs: Path | str, **options: object) -> Page:
    write_report(runs, tmp_path / "report.html", **options)  # type: ignore[arg-type]
    return Page(tmp_path / "report.html")


def some(*successes: bool | None, task: str = "stack_cube", **changes: object) -> list[dict]:
    return [line(task, number, success, **changes) for number, success in enumerate(successes)]


def test_which_task_failed_and_why_stands_at_the_top_without_a_script(tmp_path):
    lines = some(True, True, task="carrot_on_plate") + some(True, False)
    lines[-1]["failure"] = "missed_grasp"
    page = page_of(tmp_path, write_run(tmp_path / "run", lines))
    summary = page.text[: page.text.index("Success rates")]
    assert "mini succeeded in 3 of 4 episodes: 75.0 % (30.1 to 95.4)." in summary
    assert "stack_cube: 1 of 2 failed (1 missed grasp)" in summary
    assert "1/2 50.0 % (9.5 to 90.5)" in page.text, "the forest plot in numbers"
    points = [values["d"] for tag, values in page.tags if tag == "path" and values.get("class") == "point"]
    assert points == ["M100.00 10h0", "M50.00 10h0", "M75.00 10h0"], "and where its marks are"


def test_a_policy_that_writes_html_is_shown_as_text(tmp_path):
    lines = some(False, instruction=HOSTILE, reason=HOSTILE, task=f"task{HOSTILE}", failure=HOSTILE, policy=HOSTILE)
    lines[0]["decisions"] = [decision(0, HOSTILE, subtask=HOSTILE, error=HOSTILE)]
    page = page_of(tmp_path, write_run(tmp_path / "run", lines, policy=HOSTILE))
    scripts = [values for tag, values in page.tags if tag == "script"]
    assert [values.get("id", "own") for values in scripts] == ["index", "e0", "own"]
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object")]
    assert not [name for _, values in page.tags for name in values if name.startswith("on")]
    assert json.loads(page.blocks["index"])["episodes"][0]["instruction"] == HOSTILE
    assert json.loads(page.blocks["e0"])["decisions"][0]["plan"] == HOSTILE
    assert HOSTILE.split("<img")[0] in "".join(page.words), "shown, not removed"


def test_the_content_security_policy_names_this_script_and_style_by_digest_and_no_network(tmp_path):
    page = page_of(tmp_path, write_run(tmp_path / "run", some(False)))
    policy = next(values["content"] or "" for tag, values in page.tags if values.get("http-equiv"))
    for element, content in (("script", page.blocks["script"]), ("style", page.blocks["style"])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    assert not [name for _, values in page.tags for name in values if name in ("src", "style")]


def test_what_is_missing_is_said(tmp_path):
    lines = some(True, False, None, False, video="")
    lines[0]["video"] = "videos/gone.mp4"
    for key in ("success_settled", "provenance", "metrics", "truncations", "retries", "instruction_fits"):
        del lines[1][key]  # an older version
    run = write_run(tmp_path / "run", lines, episodes=9)
    said = write_report([run], tmp_path / "report.html").missing
    assert said[0] == "run is not finished: 4 of 9 episodes. Its rates are those so far."
    assert "run: 4 of 4 episodes have no video (1 files are gone)." in said
    assert "run: 1 of 4 episodes ended in an outcome that nobody knows." in said
    assert any(sentence.startswith("run: the cause of 2 failures is not known") for sentence in said)
    text = Page(tmp_path / "report.html").text
    assert all(sentence in text for sentence in said)
    assert "cause not known; grasped the object" in text.lower()


def test_a_session_whose_outcomes_nobody_knows_and_a_session_of_two_policies(tmp_path):
    run = write_run(tmp_path / "session", some(None, None, grasped=None) + some(True, False, policy="other"))
    (run / "settings.json").rename(run / "plan.json")
    page = page_of(tmp_path, run)
    assert "session#mini: success is not known for any of 2 episodes." in page.text
    assert "session#other succeeded in 1 of 2 episodes" in page.text
    assert "no command repeats it" in page.text
    assert "share no task with a scored episode" in page.text, "why they are not compared"


def test_a_video_outside_of_the_run_folder_is_not_read(tmp_path):
    write_video(tmp_path / "secret.mp4")
    page = page_of(tmp_path, write_run(tmp_path / "run", some(False, video="../secret.mp4")), embed="always")
    assert json.loads(page.blocks["index"])["episodes"][0]["video"] == ""
    assert "v0" not in page.blocks


def test_failures_are_embedded_first_as_far_as_the_limit_goes_and_the_others_are_linked(tmp_path):
    run = write_run(tmp_path / "my runs" / "run #1", lines := some(True, False, True))
    for number, one in enumerate(lines):
        one["video"] = f"videos/{number}.mp4"
        write_video(run / one["video"])
    write_run(run, lines)
    size = (run / "videos" / "1.mp4").stat().st_size
    page = page_of(tmp_path, run, limit_mb=1.5 * size / 1e6)
    videos = [one["video"] for one in json.loads(page.blocks["index"])["episodes"]]
    assert videos == ["my%20runs/run%20%231/videos/0.mp4", "in", "my%20runs/run%20%231/videos/2.mp4"]
    assert base64.b64decode(page.blocks["v1"]) == (run / "videos" / "1.mp4").read_bytes()
    for embed, expected in (("never", 0), ("always", 3)):
        page = page_of(tmp_path, run, embed=embed, limit_mb=0)
        assert sum(name.startswith("v") for name in page.blocks) == expected


@pytest.mark.parametrize("finished", [True, False])
def test_a_filmstrip_goes_from_the_first_frame_to_the_last(tmp_path, finished):
    path = write_video(tmp_path / "a.mp4", 21, finished=finished)
    strip = filmstrip(path)
    assert strip.problem == ""
    assert (strip.frames, strip.fps, round(strip.shape, 2)) == (4, 5.0, 1.33)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip.jpeg))))
    reds = [int(image[:, 160 * n + 20 : 160 * n + 140, 0].mean()) for n in range(4)]
    assert reds[0] == pytest.approx(int(picture(0)[..., 0].mean()), abs=14)
    assert reds[3] == pytest.approx(picture(20)[..., 0].mean(), abs=14) or not finished  # the last may not be on disk
    assert reds == sorted(reds)
    assert reds[2] - reds[1] > 40


def test_a_damaged_video_leaves_its_reason(tmp_path):
    run = write_run(tmp_path / "run", some(False, video="videos/a.mp4"))
    (run / "videos").mkdir()
    (run / "videos" / "a.mp4").write_bytes(b"no video")
    made = write_report([run], tmp_path / "report.html")
    assert "1 videos cannot be read and are not shown. First: a.mp4 is no video that can be read" in made.missing[-1]


def test_the_gripper_command_follows_the_rows_step_by_step():
    result = EpisodeResult.from_json(json.dumps(some(False)[0]))
    assert ROWS[1][6] == 0.0
    assert gripper(result) == [[0, 1.0], [4, 0.0], [9, 1.0], [14, 0.0]]
    stepwise = EpisodeResult.from_json(
        json.dumps(some(False, steps=3, decisions=[decision(0, deltas=[*ROWS, [0, 0, 0, 0, 0, 0, 1]])])[0])
    )
    assert gripper(stepwise) == [[0, 1.0], [1, 0.0], [2, 1.0]]
    unread = EpisodeResult.from_json(json.dumps(some(False, decisions=[decision(0, deltas=None)])[0]))
    assert gripper(unread) == [[0, 1.0]]


def test_two_runs_are_compared_and_the_discordant_pairs_are_named(tmp_path):
    first, second = some(True, True, False, True), some(True, False, True, False)
    a, b = write_run(tmp_path / "a, then #1", first), write_run(tmp_path / "b", second)
    page = page_of(tmp_path, a, b)
    pairs = [values["data-pair"] for tag, values in page.tags if tag == "button" and "data-pair" in values]
    assert pairs == ["1 5", "3 7", "2 6"]
    assert "Only the first run succeeded: 2" in page.text
    assert "Underpowered" in page.text
    assert "-25.0" in page.text
    c = write_run(tmp_path / "c", second, quality="high")
    page = page_of(tmp_path, a, c)
    assert "Not comparable." in page.text
    assert "quality: not recorded, high" in page.text
    assert "Underpowered" in page_of(tmp_path, a, c, allow=("quality",)).text


def test_factors_and_words_are_shown_where_lines_have_them(tmp_path):
    words = {"decisions": 2, "said_written": 0.5, "written_moved": None, "said_moved": 1.0}
    lines = some(True, False, words=words)
    for one, level in zip(lines, ("left", "right"), strict=True):
        one.update(factor="light", level=level)
    page = page_of(tmp_path, write_run(tmp_path / "run", lines))
    assert "light: left100 % 1/1100 % 1/1light: right0 % 0/10 % 0/1" in page.text
    assert "stack_cube450 % (9.5 to 90.5)not known100 % (34.2 to 100.0)" in page.text


def test_the_command_that_is_printed_repeats_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = "evaluate --backend point --policy scripted --tasks stack_cube --episodes 2 --noise 2 --seed 7 --no-video"
    assert main([*shlex.split(command), "--layouts", "random", "--out", "first run", "--report"]) == 0
    assert "Report   first run/report.html" in capsys.readouterr().out
    page = Page(tmp_path / "first run" / "report.html")
    printed = re.search(r"vlm2vla evaluate .*? --noise 2\.0", page.text)
    assert printed is not None
    assert main([*shlex.split(printed[0])[1:], "--no-video", "--out", "second"]) == 0
    said = re.search(r"^Report   (vlm2vla report .*)$", capsys.readouterr().out, re.M)
    assert said is not None
    kept = [
        [json.loads(one)[key] for key in ("seed", "outcome", "steps")]
        for folder in ("first run", "second")
        for one in (tmp_path / folder / "results.jsonl").read_text().splitlines()
    ]
    assert kept[:2] == kept[2:]
    assert main(shlex.split(said[1])[1:]) == 0, "the command that evaluate prints"
    assert (tmp_path / "second" / "report.html").is_file()


def test_what_cannot_be_shown_is_refused_with_a_sentence(tmp_path):
    run = write_run(tmp_path / "run", some(True))
    for given, problem, error in (
        ([tmp_path], "is not a run", RunFolderError),
        ([f"{run}#nobody"], "no episode of the policy 'nobody'; it has: mini", RunFolderError),
        ([run, run], "named twice", SettingError),
    ):
        with pytest.raises(error, match=problem):
            write_report(given, tmp_path / "report.html")
    (run / "results.jsonl").write_text("")
    with pytest.raises(RunFolderError, match="no finished episode"):
        write_report([run], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_tokens_and_money_are_shown_where_a_server_tells_them(tmp_path):
    def paid(number: int, tokens: int | None) -> dict[str, object]:
        stages = decision(0)["stages"]
        stages = [{**stage, "prompt_tokens": tokens, "cached_tokens": 400, "cost": 0.5} for stage in stages]
        provenance = {"model": {"currency": "EUR"}}
        return line("carrot_on_plate", number, True, decisions=[decision(0, stages=stages)], provenance=provenance)

    def shown(name: str, *lines: dict[str, object]) -> str:
        source = page_of(tmp_path, write_run(tmp_path / name, list(lines))).source
        return " ".join(re.sub("<[^>]*>", " ", source).split())

    told = shown("told", paid(0, 1000), paid(1, 3000))
    assert "prompt tokens per episode of which cached cost per episode" in told
    assert "4000 800 1 EUR" in told
    silent = shown("silent", paid(0, 1000), paid(1, None))
    assert "not known 800 1 EUR" in silent
    assert "cost per episode" not in shown("unpaid", line("carrot_on_plate", 0, True))
