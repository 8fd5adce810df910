"""The page shows every phase with its picture and words, asks nothing of the network, and believes no text it shows."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from trajectory_fakes import PICK_AND_PLACE, trajectory

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.lerobot_layout import EpisodeAnnotation
from vlm2vla_sim.data.episode import Agreement
from vlm2vla_sim.data.inspect_page.drawing import project
from vlm2vla_sim.data.inspect_page.page import write_page
from vlm2vla_sim.data.inspect_page.section import WIDTH
from vlm2vla_sim.data.inspect_page.survey import corrections, survey
from vlm2vla_sim.data.recording.camera import recorded_camera
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.evaluation.settings import RunSettings


def pictures(page: str) -> list[np.ndarray]:
    stored = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in stored]


def test_every_phase_is_on_the_page_with_the_picture_it_began_with(tmp_path):
    labelled = relabel(trajectory())
    assert write_page(tmp_path / "page.html", "a set", [labelled], [Skipped("bad/1", "It is broken.")]) == 1
    page = (tmp_path / "page.html").read_text()
    shown = pictures(page)
    assert [round(float(one[..., 1].mean()) / 4) for one in shown] == [*(p.start for p in labelled.phases), 35]
    assert all(one.shape[1] == WIDTH for one in shown)
    for phase in labelled.phases:
        assert phase.plan in page
        assert phase.chunk.text in page
    assert "Skipped: 1" in page
    assert "bad/1: It is broken." in page
    assert "move down 10 cm, open gripper" in page


def test_the_drawn_path_goes_the_way_the_gripper_went(tmp_path):
    """From above, forward is up and left is left: 12 cm forward and 6 left end higher and further left."""
    write_page(tmp_path / "page.html", "a set", [relabel(trajectory(PICK_AND_PLACE))])
    line = re.search(r'points="([^"]+)"', (tmp_path / "page.html").read_text())
    assert line is not None
    places = np.array([[float(number) for number in pair.split(",")] for pair in line[1].split()])
    across, up = places[-1] - places[0]
    assert across < -10
    assert up < -2 * 10  # a picture's y grows downwards
    assert up / across == pytest.approx(2.0, rel=0.05)


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path):
    write_page(tmp_path / "page.html", "a set", [relabel(trajectory())])
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"https?:|<script|<link|url\(|@import|\bsrc=\"(?!data:)", page)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_words_from_a_data_set_are_shown_and_not_run(tmp_path):
    wicked = relabel(trajectory(name="<script>x", instruction="put <img src=x onerror=alert(1)> on plate"))
    write_page(tmp_path / "page.html", "<b>", [wicked], [Skipped("<i>", "<script>y</script>")])
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;y" in page


MOVED = {"camera_shift_x": -4.0, "camera_shift_y": 3.0, "camera_yaw": 4.0, "camera_pitch": 3.0, "camera_fov": 52.0}


@pytest.mark.parametrize(("size", "options"), [((240, 320), {}), ((224, 224), {}), ((240, 320), MOVED)])
def test_the_path_lies_over_the_image_where_the_camera_saw_it(size, options):
    """The projected centres of the objects, against the pixels that the twin drew of them."""
    camera = recorded_camera(get_task("stack_cube"), RunSettings(tasks=("stack_cube",), backend_options=options))
    assert camera is not None
    env = gym.make("vlm2vla/WidowXStackCube-v0", backend="mujoco", image_size=size, **options)
    env.reset(options={"episode_id": 3})
    twin = env.unwrapped._backend
    scene, seen = twin.status().scene, twin.segmentation()
    for body in (scene.source, scene.target):
        number = next(n for n in np.unique(seen) if n and twin.body_name(int(n)) == body.name)
        rows, columns = np.nonzero(seen == number)
        (place,) = project(camera, body.pose.position[None], size)
        assert place == pytest.approx([columns.mean() + 0.5, rows.mean() + 0.5], abs=0.012 * size[0])
    env.close()
    (behind,) = project(camera, np.array([[-1.0, 0.0, 0.4]]), size)
    assert np.isnan(behind).all(), "what is behind the camera is not drawn"


def test_a_camera_is_stored_with_the_episode_and_one_that_nobody_knows_is_not():
    task = get_task("stack_cube")
    assert recorded_camera(task, RunSettings(backend="point")) is None
    camera = recorded_camera(task, RunSettings(backend_options={"source_colour": "red"}))
    line = EpisodeAnnotation("a", "b", "success", camera=camera).to_json()
    assert EpisodeAnnotation.from_json(line).camera == camera
    assert EpisodeAnnotation.from_json({**line, "camera": None}).camera is None


def test_without_a_camera_the_page_says_so_and_draws_every_phase_in_plan_view(tmp_path):
    known = dataclasses.replace(trajectory(), camera=Camera((0.0, -0.2, 0.5), look_at=(0.4, 0.0, 0.1)))
    for one, plans, over in ((trajectory(), 6, 0), (known, 0, 6)):
        labelled = relabel(one)
        write_page(tmp_path / "page.html", "a set", [labelled])
        page = (tmp_path / "page.html").read_text()
        assert (page.count('class="plan"'), page.count('class="over"')) == (plans, over)
        assert ("The pose of the camera is not in the data set" in page) == (one.camera is None)


WANDERING = (
    (6, (0.02, 0.0, 0.0), 0.0, 1.0),
    (5, (-0.02, 0.0, 0.0), 0.0, 1.0),
    (6, (0.02, 0.0, 0.0), 0.0, 1.0),
    *PICK_AND_PLACE[1:],
)
"""Forward, back, and forward again before it grasps: two corrections."""


def many(count: int = 30) -> list:
    rng = np.random.default_rng(0)
    names = ["put carrot on plate", "put the spoon on the towel", "stack the green block on the yellow block"]
    made = []
    for n in range(count):
        parts = [(max(1, steps + int(rng.integers(0, 2))), *rest) for steps, *rest in PICK_AND_PLACE]
        made.append(relabel(trajectory(tuple(parts), name=f"fake/{n:03}", instruction=names[n % 3])))
    return made


def test_what_is_far_from_the_rest_is_listed_with_the_reason():
    usual = many()
    odd = relabel(trajectory(WANDERING, name="fake/odd"))
    jump = relabel(
        trajectory((*PICK_AND_PLACE[:-1], (1, (0.2, 0.0, 0.0), 0.0, 1.0), *PICK_AND_PLACE[-1:]), name="jump")
    )
    found = survey([*usual, odd, jump])
    assert corrections(odd) == 2
    assert max(map(corrections, usual)) == 0
    assert found.strangest()[:2] == ["jump", "fake/odd"]
    assert "largest step 20 cm (median 2.24)" in found.strangeness["jump"].reasons
    assert "corrections 2 (median 0)" in found.strangeness["fake/odd"].reasons
    assert survey(usual[:1]).strangest() == [], "nothing is unusual among one"


def test_distributions_are_of_all_trajectories_and_images_of_those_that_are_shown(tmp_path):
    labelled = many()
    differs = Agreement(1.0, 0.25, 1.0, ("Steps 6 to 15: the rules say down, the model says left.",))
    labelled[20] = dataclasses.replace(labelled[20], agreement=differs)
    labelled[4] = dataclasses.replace(labelled[4], agreement=Agreement(1.0, 1.0, 1.0))
    shown = write_page(tmp_path / "page.html", "a set", labelled, most=3)
    page = (tmp_path / "page.html").read_text()
    names = re.findall(r"<summary><b><bdi>fake/(\d+)</bdi>", page)
    assert len(names) == shown
    assert names[0] == "020", "what model and rules disagree about comes first"
    assert set(names) >= {"000", "001", "002"}
    assert len(pictures(page)) == sum(len(labelled[int(name)].phases) + 1 for name in names)
    assert '<bdi>stack</bdi></th><td class="plot">' in page
    assert re.search(r"<bdi>put</bdi>.{,250}<b>20</b> 67 %", page), "of all 30, not of those that are shown"
    assert "<b>75 %</b> <bdi>Steps 6 to 15: the rules say down" in page
    assert "1 of 2 trajectories differ" in page
    targets = re.findall(r'href="#(\w+)"', page)
    assert targets
    assert set(targets) <= set(re.findall(r'id="(\w+)"', page))


def test_the_style_of_the_page_is_the_reports(tmp_path):
    write_page(tmp_path / "page.html", "a set", [relabel(trajectory())])
    import vlm2vla_sim.evaluation.report as report

    style = (Path(report.__file__).parent / "files" / "report.css").read_text()
    page = (tmp_path / "page.html").read_text()
    assert page.count("<style>") == 1
    assert f"<style>{style}</style>" in page
    assert "style=" not in page.replace("style-src", ""), "the policy of the page allows no other style"
