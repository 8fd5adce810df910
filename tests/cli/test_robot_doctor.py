"""`vlm2vla robot doctor`: it finds each fault, moves nothing without a yes, and always leaves its page."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane import need
from PIL import Image

need("robot", "zmq", "lz4", "cv2")

from robot_bench import Bench, Fault, bench, mock_controller  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.cli.robot_flags import RobotFlags  # noqa: E402
from vlm2vla_sim.core.checks import Check, all_work, format_checks  # noqa: E402
from vlm2vla_sim.envs.bridge.backend import BridgeBackend  # noqa: E402
from vlm2vla_sim.envs.probe import CameraLook, Probe  # noqa: E402
from vlm2vla_sim.envs.robot_link import endpoint_lock  # noqa: E402
from vlm2vla_sim.envs.tasks import get_task  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.evaluation.robot_doctor import standing  # noqa: E402
from vlm2vla_sim.evaluation.robot_doctor.examine import MOTIONS, Examination  # noqa: E402
from vlm2vla_sim.evaluation.robot_doctor.page import render, save_pictures  # noqa: E402
from vlm2vla_sim.robots.base import Workspace  # noqa: E402
from vlm2vla_sim.testing import PointBackend  # noqa: E402

ROOT = Path(__file__).parents[2]
MOVES = [name for names in MOTIONS.values() for name in names]


@pytest.fixture(scope="module")
def stage() -> Iterator[Bench]:
    """The mock robot, which has been at its start before."""
    with bench() as made:
        backend = BridgeBackend(get_task("carrot_on_plate"), port=made.server.port)
        backend.reset(get_task("carrot_on_plate").layouts[0], np.random.default_rng(0))
        backend.close()
        yield made


LIMIT = standing.SLOW_LINK


@pytest.fixture
def sound(stage: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The mock robot with nothing wrong, whatever the test before did to it, on a machine that may be busy."""
    monkeypatch.setattr(standing, "SLOW_LINK", 5.0)
    monkeypatch.setattr(standing, "SLOW_LOOK", 5.0)
    stage.proxy.arm(())
    yield stage
    stage.proxy.arm(())
    for fault, value in (("dark", {"on": False}), ("block", {"on": False}), ("jam", {"reading": None})):
        stage.truth.ask(type=fault, **value)


class Examined:
    """What one run of the command left."""

    def __init__(self, status: int, values: dict[str, Any], page: Path) -> None:
        self.status, self.values, self.page = status, values, page
        self.checks: dict[str, dict[str, Any]] = {check["name"]: check for check in values["checks"]}

    @property
    def wrong(self) -> list[str]:
        return [name for name, check in self.checks.items() if check["works"] is False]

    @property
    def unknown(self) -> set[str]:
        return {name for name, check in self.checks.items() if check["works"] is None}


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Examined]:
    def run(port: int, *words: str) -> Examined:
        page = tmp_path / "doctor.html"
        robot = ["--port", str(port), "--backend-options", "period=0", "frame_timeout=0.6", *words]
        status = main(["robot", "doctor", "--out", str(page), "--json", *robot])
        return Examined(status, json.loads(capsys.readouterr().out), page)

    return run


def acts(stage: Bench) -> list[str]:
    return [act.key for act in stage.server.robot.acts]


def test_a_sound_robot_passes_and_what_the_wire_does_not_tell_is_null(sound, doctor):
    found = doctor(sound.server.port, "--yes")
    assert (found.status, found.wrong, found.values["passed"]) == (0, [], True)
    assert found.unknown == {"joint ranges"}
    checks = found.checks
    assert f"widowx250s at 127.0.0.1:{sound.server.port}, server 0.0.1" in checks["server"]["found"]
    assert len(checks["link"]["measured"]["seconds"]) == 20
    assert checks["camera primary"]["measured"] | {"brightness": 0, "contrast": 0, "age_s": 0} == {
        "width_px": 128, "height_px": 96, "channels": 3, "brightness": 0, "contrast": 0, "images": 10,
        "different_images": 10, "age_s": 0,
    }  # fmt: skip
    assert checks["workspace"]["measured"] == {"arm_inside": True, "start_inside": True}
    assert checks["2 cm up"]["measured"]["moved_m"] == pytest.approx(0.02, abs=0.003)
    assert checks["2 cm down"]["measured"]["moved_m"] == pytest.approx(-0.02, abs=0.003)
    assert checks["gripper closes"]["measured"]["opening"] < 0.1
    assert checks["gripper opens"]["measured"]["opening"] > 0.8
    picture = np.asarray(Image.open(found.page.with_name("doctor-primary.jpg")))
    assert picture.shape == (96, 128, 3)
    table = picture[-30:, 40:90].reshape(-1, 3).mean(axis=0)
    assert table[0] > 1.5 * table[2], "the table is brown: red and blue are not exchanged"


def test_a_dark_camera_and_a_gripper_that_stays_open(sound, doctor):
    sound.truth.ask(type="dark", on=True)
    sound.truth.ask(type="jam", reading=1.08)
    found = doctor(sound.server.port, "--yes")
    assert (found.status, found.wrong) == (1, ["camera primary", "gripper closes"])
    assert "Too dark: switch the light on" in found.checks["camera primary"]["advice"]
    assert "does not follow" in found.checks["gripper closes"]["found"]
    assert "gripper opens" in found.unknown, "after a fault nothing more is sent"
    assert "Something is wrong: camera primary, gripper closes." in found.values["verdict"]


def test_a_gripper_that_stops_half_way(sound, doctor):
    sound.truth.ask(type="jam", reading=0.7)
    found = doctor(sound.server.port, "--yes")
    assert found.wrong == ["gripper closes", "gripper opens"]
    assert "between its fingers" in found.checks["gripper closes"]["advice"]


def test_a_frozen_camera(sound, doctor):
    sound.proxy.arm([Fault(0, "freeze", count=10_000)])
    found = doctor(sound.proxy.port, "max_frame_age=0.1", "--yes")
    assert found.status == 1
    assert found.wrong == ["camera primary", "start"]
    assert "Frozen: the same image every time" in found.checks["camera primary"]["advice"]
    assert found.checks["camera primary"]["measured"]["different_images"] == 1
    assert "Check the camera's cable" in found.checks["start"]["found"]


def test_an_arm_that_does_not_move(sound, doctor):
    sound.truth.ask(type="block", on=True)
    found = doctor(sound.server.port, "--yes")
    assert (found.status, found.wrong) == (1, ["2 cm up", "2 cm down"])
    assert "The arm does not move. Is its power on" in found.checks["2 cm up"]["advice"]
    assert found.checks["2 cm up"]["measured"]["error_m"] == pytest.approx(0.02, abs=0.003)


def test_a_slow_link(sound, doctor, monkeypatch):
    monkeypatch.setattr(standing, "SLOW_LINK", LIMIT)
    sound.proxy.arm([Fault(number, "delay", seconds=0.06) for number in range(1000)])
    found = doctor(sound.proxy.port, "--no-motion")
    assert (found.status, found.wrong) == (1, ["link"])
    assert "at most 50 ms (95 %) were expected" in found.checks["link"]["found"]
    assert "cable instead of Wi-Fi" in found.checks["link"]["advice"]


def test_nobody_at_the_port(doctor):
    found = doctor(1, "--yes")
    assert (found.status, found.wrong) == (1, ["link"])
    assert "Nothing replies at 127.0.0.1:1; nothing was sent." in found.checks["link"]["found"]
    assert set(found.checks) >= {"cameras", "pose", "workspace", *MOVES}
    assert found.unknown == set(found.checks) - {"link"}
    assert "Nothing replies" in found.page.read_text()


def test_a_robot_that_a_session_uses_is_left_alone(sound, doctor, monkeypatch):
    monkeypatch.setattr(endpoint_lock, "PATIENCE", 0.1)
    lock, before = endpoint_lock.EndpointLock("127.0.0.1", sound.server.port), sound.server.requests
    lock.acquire()
    try:
        found = doctor(sound.server.port, "--yes")
    finally:
        lock.release()
    assert (found.status, found.wrong) == (1, ["link"])
    assert "in use by" in found.checks["link"]["found"]
    assert sound.server.requests == before


def test_without_motion_nothing_is_asked_and_nothing_moves(sound, doctor, monkeypatch):
    before = acts(sound)
    monkeypatch.setattr(sys, "stdin", None)
    found = doctor(sound.server.port, "--no-motion")
    assert (found.status, acts(sound)) == (0, before)
    assert found.unknown == {"joint ranges", *MOVES}


@pytest.mark.parametrize(
    ("answers", "moved", "left"),
    [
        ("n\n", [], MOVES),
        ("", [], MOVES),
        ("perhaps\n\nno\n", [], MOVES),
        ("y\nn\nn\n", ["drive"], MOVES[1:]),
        ("yes\n", ["drive"], MOVES[1:]),
        ("y\nn\nY\n", ["drive", "step_action"], MOVES[1:3]),
    ],
)
def test_nothing_moves_without_a_yes_and_what_was_not_made_does_not_pass(
    sound, doctor, monkeypatch, answers, moved, left
):
    before = len(acts(sound))
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    found = doctor(sound.server.port)
    assert found.status == 1
    made = {"drive" if key in ("init", "reset") else key for key in acts(sound)[before:]}  # an equal init is a reset
    assert sorted(made) == moved
    assert set(left) <= found.unknown
    assert "Not checked: " in found.values["verdict"]


def test_before_its_first_start_a_robot_tells_nothing_of_its_cameras_and_that_does_not_pass(sound, doctor):
    sound.truth.ask(type="restart", seconds=0.02)
    time.sleep(0.1)
    before = acts(sound)
    found = doctor(sound.server.port, "--no-motion")
    assert (found.status, found.wrong, acts(sound)) == (1, [], before)
    assert "not initialised" in found.checks["cameras"]["found"]
    assert "Not checked: observations, cameras, pose, workspace." in found.values["verdict"]
    assert doctor(sound.server.port, "--yes").status == 0, "and everything once it was started"


class CtrlC:
    """A terminal at which Ctrl-C is pressed instead of the answer number `at`."""

    def __init__(self, at: int) -> None:
        self._left = at

    def readline(self) -> str:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return "y\n"


def test_ctrl_c_at_the_second_question_leaves_the_arm_where_it_is(sound, doctor, monkeypatch):
    monkeypatch.setattr(sys, "stdin", CtrlC(1))
    found = doctor(sound.server.port)
    assert found.status == 130
    assert acts(sound)[-1] in ("init", "reset"), "an equal init is a reset"
    assert found.checks["start"]["works"] is True
    assert found.checks["2 cm up"]["found"] == "not made: interrupted"
    assert "It was interrupted; the arm holds its position." in found.page.read_text()


def test_a_signal_at_a_question_ends_it_with_its_page_and_nothing_moves(sound, tmp_path):
    page = tmp_path / "doctor.html"
    before = acts(sound)
    words = ["robot", "doctor", "--out", str(page), "--port", str(sound.server.port)]
    command = [sys.executable, "-m", "vlm2vla_sim", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT) as process:
        try:
            assert process.stderr is not None
            said = b""
            end = time.monotonic() + 30
            while b"[y/n]" not in said and time.monotonic() < end:
                said += process.stderr.read1()  # type: ignore[attr-defined]
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 143
    assert b"not made: interrupted" in out
    assert "interrupted" in page.read_text()
    assert acts(sound) == before


def test_a_page_that_cannot_be_written_is_found_before_anything_is_sent(sound, tmp_path, capsys):
    requests = sound.server.requests
    (tmp_path / "file").write_text("")
    words = ["robot", "doctor", "--port", str(sound.server.port), "--yes", "--out"]
    assert main([*words, str(tmp_path / "file" / "doctor.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert sound.server.requests == requests


def test_a_backend_without_a_probe_is_examined_from_its_start(doctor, tmp_path, capsys):
    page = tmp_path / "p.html"
    assert main(["robot", "doctor", "--backend", "point", "--out", str(page), "--yes", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert {name for name, check in checks.items() if check["works"] is None} == {
        "server", "link", "observations", "joint ranges",
    }  # fmt: skip
    assert checks["workspace"]["measured"] == {"arm_inside": True, "start_inside": None}
    assert "freshness is not known" in checks["camera primary"]["found"]


def test_a_manipulator_gym_server_is_examined_in_the_same_way(doctor, monkeypatch):
    monkeypatch.setattr(standing, "SLOW_LINK", 5.0)
    monkeypatch.setattr(standing, "SLOW_LOOK", 5.0)
    with bench(backend="manipulator_gym") as other:
        found = doctor(other.server.port, "--backend", "manipulator_gym", "--yes")
    assert (found.status, found.wrong, found.unknown) == (0, [], {"joint ranges"})


def test_a_widowx_ai_tells_its_joints_and_is_left_alone_while_a_session_uses_it(tmp_path, capsys, monkeypatch):
    need("robot", "trossen_arm", "trossen_arm_sim", "zmq", extra="widowx-ai")
    monkeypatch.setattr(standing, "SLOW_LINK", 5.0)
    monkeypatch.setattr(standing, "SLOW_LOOK", 5.0)
    monkeypatch.setattr(endpoint_lock, "PATIENCE", 0.1)
    with mock_controller("carrot_on_plate", (480, 640), host="127.0.0.78") as controller:
        words = ["robot", "doctor", "--backend", "widowx_ai", "--out", str(tmp_path / "p.html"), "--yes", "--json"]
        words += ["--host", "127.0.0.78", "--camera", f"primary={controller.options['cameras']['primary']}"]
        words += ["--backend-options", "period=0.05"]
        status, checks = main(words), checks_of(capsys)
        lock = endpoint_lock.EndpointLock("127.0.0.78", 50001)
        lock.acquire()
        refused, left = main(words), checks_of(capsys)
        lock.release()
    assert (status, [name for name, check in checks.items() if not check["works"]]) == (0, [])
    assert len(checks["joint ranges"]["measured"]["angle_rad"]) == 6
    assert (refused, [name for name, check in left.items() if check["works"] is False]) == (1, ["link"])
    assert "in use by" in left["link"]["found"]


def checks_of(capsys) -> dict[str, Any]:
    return {check["name"]: check for check in json.loads(capsys.readouterr().out.splitlines()[-1])["checks"]}


def test_the_host_that_is_given_is_the_one_that_is_used():
    """A mock at 127.0.0.1 is no other robot, though that address is another backend's own."""
    need("robot", "trossen_arm", extra="widowx-ai")
    assert RobotFlags(backend="widowx_ai", host="127.0.0.1").env_options() == {"host": "127.0.0.1"}
    assert RobotFlags(backend="widowx_ai").env_options() == {}
    with pytest.raises(SettingError, match="host was given twice"):
        RobotFlags(host="127.0.0.1", backend_options=("host=::1",)).env_options()
    with pytest.raises(SettingError, match="takes no --port"):
        RobotFlags(backend="widowx_ai", port=5556).env_options()
    assert main(["robot", "sleep", "--camera", "wrist=/dev/video9"]) == 1


class Puzzled(PointBackend):
    """A robot whose setting turns out to be wrong when it is asked."""

    def probe(self) -> Probe:
        raise SettingError("The camera draws something else.")


def test_an_error_of_any_kind_is_a_finding_and_the_page_is_written(tmp_path, capsys):
    page = tmp_path / "p.html"
    assert main(["robot", "doctor", "--backend", f"{__name__}:Puzzled", "--out", str(page), "--yes"]) == 1
    assert "  FAILS  link            The camera draws something else." in capsys.readouterr().out
    assert "The camera draws something else." in page.read_text()


class WithJoints(PointBackend):
    """A robot that tells its joints' angles and nothing else before it was reset."""

    def probe(self) -> Probe:
        return Probe("an arm", no_looks="it sleeps", joints=np.array([0.0, 1.98, 0.0, 0.0, 0.0, 0.0]))


def test_a_joint_at_the_end_of_its_range_is_named(tmp_path, capsys):
    backend = f"{__name__}:WithJoints"
    assert main(["robot", "doctor", "--backend", backend, "--out", str(tmp_path / "p.html"), "--no-motion"]) == 1
    out = capsys.readouterr().out
    assert "At the end of its range: shoulder." in out
    assert "Not checked: observations, cameras, pose, workspace." in out


# Parts.


def picture(*, value: int = 120, shape: tuple[int, ...] = (96, 128, 3), seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-40, 40, shape)
    return np.clip(value + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("looks", "advice"),
    [
        ([CameraLook(picture(seed=n), 0.01) for n in range(3)], ""),
        ([CameraLook(picture(value=0), 0.01)], "Too dark"),
        ([CameraLook(picture(value=270), 0.01)], "Too bright"),
        ([CameraLook(np.full((96, 128, 3), 90, np.uint8), 0.01)], "Nothing is seen"),
        ([CameraLook(picture(shape=(96, 128)), 0.01)], "Grey"),
        ([CameraLook(picture(shape=(96, 96, 3)), 0.01)], "stretched"),
        ([CameraLook(picture(), 0.9)], "older than 500 ms"),
        ([CameraLook(picture(), 0.01)] * 2, "Frozen"),
        ([CameraLook(picture(), 0.01), CameraLook(None, problem="gone")], "1 of 2 images did not come"),
        ([CameraLook(None, problem="It is gone.")], "Check its cable"),
    ],
)
def test_each_fault_of_a_camera_comes_with_what_to_do(looks, advice):
    check = standing.check_camera("wrist", looks, (480, 640))
    assert check.works is not bool(advice)
    assert advice in check.advice


def test_a_workspace_without_the_start_or_the_arm_in_it_fails():
    box = Workspace((0.1, -0.2, 0.0), (0.4, 0.2, 0.3))
    assert standing.check_workspace(None, None, box).works is None
    outside = standing.check_workspace(None, np.array([0.5, 0.0, 0.1]), box)
    assert (outside.works, outside.measured) == (False, {"arm_inside": None, "start_inside": False})
    assert "start OUTSIDE" in outside.found


def test_a_check_that_is_needed_and_was_not_made_does_not_count_as_working():
    checks = [Check("a", True, True, "x"), Check("joints", None, False, "not told")]
    assert all_work(checks)
    assert not all_work([*checks, Check("b", None, True, "left out")])
    assert format_checks(checks) == "     ok  a       x\nunknown  joints  not told"


class Loads(HTMLParser):
    """What a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_is_one_file_that_loads_nothing_and_believes_nothing(tmp_path):
    found = Examination("bridge", checks=[Check("<script>", False, True, "</li><img src=//x>", "a & b")])
    found.pictures["../../wrist cam"] = picture()
    page = render(found)
    loads = Loads()
    loads.feed(page)
    assert len(loads.sources) == 1
    assert loads.sources[0].startswith("data:image/jpeg;base64,")
    assert "script" not in loads.tags
    assert "url(" not in page
    assert "@import" not in page
    for part in ("@media print", "prefers-color-scheme: dark", "width=device-width"):
        assert part in page
    [saved] = save_pictures(found, tmp_path / "doctor.html")
    assert saved.parent == tmp_path


def test_the_task_decides_the_workspace(tmp_path, capsys):
    low = get_task("eggplant_in_basket").setup.workspace.low
    words = ["robot", "doctor", "--backend", "point", "--out", str(tmp_path / "p.html"), "--no-motion"]
    assert main([*words, "--task", "eggplant_in_basket"]) == 1
    assert f"y {low[1]:.2f} to" in capsys.readouterr().out
