"""Profile "original" and its worker, in a virtual environment that has a stand-in for `simpler_env`.

The environment has the NumPy of this one, and says that it is an older one; a `gymnasium` of one class; no packages
else. What is tested is all that lies between our environment and SIMPLER's: interpreter, process, messages, units.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vlm2vla_sim.cli import diagnostics
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.simpler import original_process
from vlm2vla_sim.envs.simpler.original_check import MODELS, PHOTOS, STAGES, VISUALS
from vlm2vla_sim.errors import BackendFaultError, SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.types import Outcome

GYMNASIUM = """
class ObservationWrapper:
    def __init__(self, env):
        self.env, self.unwrapped = env, env.unwrapped
    def reset(self, **more):
        observation, info = self.env.reset(**more)
        return self.observation(observation), info
    def close(self):
        self.env.close()
"""
INSTALLED = {"numpy": "1.24.4", "gymnasium": "0.29.1", "sapien": "2.2.2", "simpler_env": "0.0.1"}
HOLD = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
MakeEnv = Callable[..., WidowXEnv]


def install(site: Path, name: str, version: str) -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has the stand-in."""
    root = tmp_path_factory.mktemp("simpler")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", root / "env"], check=True)
    site = next((root / "env").glob("lib/python*/site-packages"))
    ours = Path(np.__file__).parent
    for folder in (ours, ours.with_name("numpy.libs")):
        if folder.exists():
            (site / folder.name).symlink_to(folder)
    shutil.copy(Path(__file__).with_name("fake_simpler_env.py"), site / "simpler_env.py")
    (site / "gymnasium.py").write_text(GYMNASIUM)
    (site / "pkg_resources.py").write_text("")
    checkout = root / "ManiSkill2_real2sim"
    (checkout / "mani_skill2_real2sim").mkdir(parents=True)
    (checkout / "mani_skill2_real2sim/__init__.py").write_text("")
    (site / "editable.pth").write_text(f"{checkout}\n")
    for name, version in (*INSTALLED.items(), ("mani_skill2_real2sim", "0.5.3")):
        install(site, name, version)
    models = [f"custom/models/{model}/{file}" for model in MODELS for file in ("collision.obj", VISUALS[1])]
    photos = [f"real_inpainting/{name}" for name in PHOTOS]
    for name in (*models, *photos, *(f"hab2_bench_assets/stages/{name}" for name in STAGES)):
        (checkout / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / "data" / name).touch()
    return root / "env/bin/python"


@pytest.fixture(scope="module")
def shared(interpreter: Path) -> Iterator[WidowXEnv]:
    """One environment for what changes nothing in it."""
    env = WidowXEnv("carrot_on_plate", backend="simpler", profile="original", python=str(interpreter))
    yield env
    env.close()


@pytest.fixture
def make_env(interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeEnv]:
    """`make_env(fault, **options)`: an environment whose steps go wrong as `fake_simpler_env` says."""
    made: list[WidowXEnv] = []

    def make(fault: str = "", **options: object) -> WidowXEnv:
        monkeypatch.setenv("FAKE_FAULT", fault)
        more = {"profile": "original", "python": str(interpreter), **options}
        made.append(WidowXEnv("carrot_on_plate", backend="simpler", **more))  # pyright: ignore[reportArgumentType]
        return made[-1]

    yield make
    for env in made:
        env.close()


def test_spaces_info_and_image_are_those_of_every_backend(shared: WidowXEnv) -> None:
    observation, info = shared.reset(seed=0, options={"episode_id": 3})
    assert observation in shared.observation_space
    twin = WidowXEnv("carrot_on_plate", backend="point")
    assert shared.observation_space == twin.observation_space
    assert shared.action_space == twin.action_space
    assert info.keys() == twin.reset(options={"episode_id": 3})[1].keys()
    assert info["episode_id"] == 3
    image = observation["pixels"]["primary"]
    assert image[100, 100].tolist() == [255, 0, 0]
    assert image[400, 100].tolist() == [0, 0, 127]
    assert shared.profile == "original"
    assert shared.simulator_versions == {"simpler_env": "0.0.1", "mani_skill2_real2sim": "0.5.3", "sapien": "2.2.2"}


def test_an_episode_goes_by_its_number_and_another_layout_by_its_places(shared: WidowXEnv) -> None:
    shared.reset(options={"episode_id": 3})  # of the stand-in: the second place, the second turn
    source = shared.scene_state().source.pose
    world = shared.spec_task.scene.base.pose_to_world(source)
    assert world[0] == pytest.approx([-0.085, 0.0, 0.8875])
    assert world[1] == pytest.approx([0, 0, 0, 1])
    shared.reset(seed=7, options={"layout": "random"})
    layout = shared.spec_task.layouts[0]
    placed = shared.spec_task.scene.base.pose_to_world(shared.scene_state().source.pose)[0]
    assert placed[:2] != pytest.approx(layout.source_xy, abs=1e-3)
    shared.reset(options={"episode_id": 3})
    again = shared.spec_task.scene.base.pose_to_world(shared.scene_state().source.pose)[0]
    assert again == pytest.approx([-0.085, 0.0, 0.8875])


def test_actions_arrive_as_simplers(make_env: MakeEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "seen.json"))
    env = make_env(image_size=None)
    env.reset(options={"episode_id": 0})
    before = env.status.robot.tcp.position
    env.step(np.array([0.01, -0.02, 0.005, 0.05, 0, -0.1, 0], np.float32))
    assert env.status.robot.tcp.position - before == pytest.approx([0.01, -0.02, 0.005])
    assert env.status.robot.gripper == pytest.approx(0.045, abs=0.01)
    env.step(HOLD)
    env.close()
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen == [[0.01, -0.02, 0.005, 0.05, 0.0, -0.1, -1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]


def test_a_result_has_simplers_own_verdict_beside_ours(shared: WidowXEnv) -> None:
    result = run_episode(shared, "scripted", episode_id=0)
    assert result.outcome is Outcome.SUCCESS
    assert (result.success_at_end, result.upstream_success, result.success_settled) == (True, True, True)
    assert (result.profile, result.versions["sapien"]) == ("original", "2.2.2")
    idle = run_episode(shared, "hold", episode_id=0)
    assert (idle.success_at_end, idle.upstream_success) == (False, False)
    assert run_episode(WidowXEnv("carrot_on_plate", backend="point"), "hold").upstream_success is None


def test_names_of_what_the_source_touches_are_ours(shared: WidowXEnv) -> None:
    shared.reset(options={"episode_id": 0})
    state = shared.scene_state()
    assert state.touching == {"table"}
    assert (state.touches_target, state.touches_robot, state.grasped) == (False, False, False)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("raise", "failed during 'step': RuntimeError: the physics exploded"),
        ("crash", r"crashed \(signal 6\) during 'step'"),
        ("hang", "did not answer 'step' within 0.5 s"),
    ],
)
def test_a_worker_that_fails_is_a_sentence_and_the_next_reset_starts_another(
    make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch, fault: str, sentence: str
) -> None:
    env = make_env(fault, image_size=None)
    env.reset(options={"episode_id": 0})
    monkeypatch.setattr(original_process, "SECONDS", 0.5 if fault == "hang" else 60.0)
    with pytest.raises(BackendFaultError, match=sentence):
        env.step(HOLD)
    with pytest.raises(BackendFaultError, match=r"has ended\. Call env\.reset"):
        env.step(HOLD)
    monkeypatch.setattr(original_process, "SECONDS", 60.0)
    monkeypatch.setenv("FAKE_FAULT", "")
    env.reset(options={"episode_id": 0})
    env.step(HOLD)


PARENT = """
import os, sys, time
from vlm2vla_sim.envs.simpler.original_process import OriginalProcess
made = OriginalProcess(sys.argv[1])
made.ask("make", task="PutCarrotOnPlateInScene-v0")
if os.fork() == 0:  # a process that inherits the pipe, as those of a pool do
    time.sleep(60)
print(made._process.pid, flush=True)
time.sleep(60)
"""


def test_the_worker_ends_with_the_process_that_started_it(interpreter: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(interpreter)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    try:
        deadline = time.monotonic() + 20
        while runs(worker) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not runs(worker)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)  # what it has forked, and the worker should it still be there
        parent.stdout.close()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"python": "/nowhere/python"}, "python='/nowhere/python' names no file"),
        ({"profile": "simpler", "python": "/bin/sh"}, "is for profile='original'"),
        ({"quality": "high"}, "leave out quality"),
        ({"render_backend": "cpu"}, "leave out render_backend"),
        ({"source_size": 1.1}, "the profile 'original' leaves the scene as it is"),
    ],
)
def test_what_cannot_be_honoured_is_refused(make_env: MakeEnv, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        make_env(**options)


def test_an_interpreter_without_simpler_is_told_what_it_lacks(make_env: MakeEnv) -> None:
    with pytest.raises(SettingError, match="simpler_env is not installed; mani_skill2_real2sim is not installed"):
        make_env(python=sys.executable)


def test_what_an_interpreter_lacks_is_found(interpreter: Path) -> None:
    site = next(interpreter.parents[1].glob("lib/python*/site-packages"))
    checkout = interpreter.parents[2] / "ManiSkill2_real2sim/data"
    assert original_process.examine(str(interpreter)).problems == ()
    (site / "numpy-1.24.4.dist-info").rename(site / "kept")
    install(site, "numpy", "2.4.6")
    (checkout / "real_inpainting/bridge_sink.png").rename(checkout / "kept.png")
    try:
        original_process.examine.cache_clear()
        found = original_process.examine(str(interpreter)).problems
    finally:
        shutil.rmtree(site / "numpy-2.4.6.dist-info")
        (site / "kept").rename(site / "numpy-1.24.4.dist-info")
        (checkout / "kept.png").rename(checkout / "real_inpainting/bridge_sink.png")
        original_process.examine.cache_clear()
    assert len(found) == 2
    assert found[0].startswith("numpy 2.4.6 is installed, and SIMPLER needs 1.x")
    assert found[1].startswith("1 of SIMPLER's assets are missing")
    assert found[1].endswith("bridge_sink.png")


def test_the_interpreter_is_the_named_one_or_that_of_conda(
    interpreter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (original_process.VARIABLE, "MAMBA_ROOT_PREFIX", "CONDA_PREFIX", "CONDA_EXE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SettingError, match="none was found: name it with"):
        original_process.find_python()
    conda = tmp_path / "miniconda3/envs/simpler_env/bin/python"
    conda.parent.mkdir(parents=True)
    conda.touch()
    assert original_process.find_python() == str(conda)
    monkeypatch.setenv(original_process.VARIABLE, str(interpreter))
    assert original_process.find_python() == str(interpreter)
    assert original_process.find_python(str(conda)) == str(conda)


def test_the_doctor_says_what_the_interpreter_lacks(interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(original_process.VARIABLE, str(interpreter))
    check = diagnostics._check_original()
    assert (check.works, check.needed) == (False, False)
    assert check.found.startswith(f"{interpreter}: SAPIEN cannot render there (ModuleNotFoundError")
    monkeypatch.setenv(original_process.VARIABLE, "/nowhere/python")
    check = diagnostics._check_original()
    assert check.found == "no interpreter"
    assert "VLM2VLA_SIMPLER_PYTHON='/nowhere/python' names no file" in check.advice
