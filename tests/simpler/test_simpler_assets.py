"""Assets are found, linked and reported in words; nothing is asked at the keyboard and nothing is lost."""

from __future__ import annotations

import json
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from vlm2vla_sim.envs.simpler import assets, stages
from vlm2vla_sim.errors import AssetsError, MissingExtraError


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


URDF = (
    '<robot name="wx250s"><link name="a"><mesh filename="meshes/a.obj"/><!-- <mesh filename="meshes/gone.obj"/> -->'
    '</link><joint name="right_finger"><mimic joint="left_finger" multiplier="1" offset="0"/></joint></robot>'
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A ManiSkill2_real2sim checkout as most people have it: without the two large table stages."""
    root = tmp_path / "ManiSkill2_real2sim"
    for name in assets.LISTS:
        write(root / "data/custom" / name, "{}")
    for model in assets.MODELS:
        write(root / "data/custom/models" / model / "collision.obj")
        write(root / "data/custom/models" / model / "textured.dae")
    for name in assets.PHOTOS:
        write(root / "data/real_inpainting" / name)
    robot = root / "mani_skill2_real2sim/assets/descriptions/widowx_description"
    write(robot / "wx250s.urdf", URDF)
    write(robot / "meshes/a.obj")
    return root


def test_an_empty_folder_lacks_every_file_and_says_what_to_do(tmp_path: Path) -> None:
    inventory = assets.inspect(tmp_path)
    assert str(assets.DATA_SET / "real_inpainting/bridge_sink.png") in inventory.missing
    assert str(assets.ROBOT / "wx250s.urdf") in inventory.missing
    assert str(assets.DATA_SET / "custom/models/eggplant/textured.dae") in inventory.missing
    assert "vlm2vla assets download" in inventory.lines()[-1]
    assert "vlm2vla assets link" in inventory.lines()[-1]


@pytest.mark.parametrize("inside", ["", "data"])
def test_linking_a_checkout_completes_the_folder_and_says_which_stages_it_made(
    checkout: Path, tmp_path: Path, inside: str
) -> None:
    root = tmp_path / "assets"
    done = assets.link(checkout / inside, root)
    inventory = assets.inspect(root)
    assert inventory.missing == ()
    assert [Path(path).name for path in inventory.made] == list(stages.TOPS)
    assert sum("plain box" in line for line in done) == 2
    assert (root / assets.DATA_SET / "custom/models/eggplant").resolve() == checkout / "data/custom/models/eggplant"


def test_the_robot_of_a_checkout_loses_its_mimic_tag_and_keeps_its_fingers_from_colliding(
    checkout: Path, tmp_path: Path
) -> None:
    assets.link(checkout, tmp_path / "assets")
    robot = tmp_path / "assets" / assets.ROBOT
    assert "<mimic" not in (robot / "wx250s.urdf").read_text()
    assert 'link1="left_finger_link" link2="right_finger_link"' in (robot / "wx250s.srdf").read_text()
    assert (
        "<mimic" in (checkout / "mani_skill2_real2sim/assets/descriptions/widowx_description/wx250s.urdf").read_text()
    )


def test_linking_again_changes_nothing(checkout: Path, tmp_path: Path) -> None:
    assets.link(checkout, tmp_path / "assets")
    assert assets.link(checkout, tmp_path / "assets") == []


def test_linking_an_asset_folder_to_itself_only_adds_the_missing_stages(checkout: Path, tmp_path: Path) -> None:
    root = tmp_path / "assets"
    assets.link(checkout, root)
    (root / assets.DATA_SET / "stages/bridge_table_1_v2.glb").unlink()
    done = assets.link(root, root)
    assert len(done) == 1
    assert "bridge_table_1_v2.glb" in done[0]


def test_a_maniskill_folder_is_linked_with_its_own_stages(checkout: Path, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    assets.link(checkout, owned)
    stage = owned / assets.DATA_SET / "stages/bridge_table_1_v1.glb"
    stage.write_bytes(bytes(stages.MADE_BELOW))
    assets.link(owned, tmp_path / "assets")
    inventory = assets.inspect(tmp_path / "assets")
    assert inventory.missing == ()
    assert [Path(path).name for path in inventory.made] == ["bridge_table_1_v2.glb"]


def test_a_folder_without_simpler_in_it_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(AssetsError, match=r"holds none of SIMPLER's assets.*ManiSkill2_real2sim checkout"):
        assets.link(tmp_path, tmp_path / "assets")


def test_a_model_without_a_picture_of_itself_counts_as_missing(checkout: Path, tmp_path: Path) -> None:
    (checkout / "data/custom/models/sink/textured.dae").unlink()
    assets.link(checkout, tmp_path / "assets")
    assert assets.inspect(tmp_path / "assets").missing == (str(assets.DATA_SET / "custom/models/sink/textured.dae"),)


def test_a_mesh_that_the_robot_names_counts_as_missing_and_one_in_a_comment_does_not(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "mani_skill2_real2sim/assets/descriptions/widowx_description/meshes/a.obj").unlink()
    assets.link(checkout, tmp_path / "assets")
    assert assets.inspect(tmp_path / "assets").missing == (str(assets.ROBOT / "meshes/a.obj"),)


def test_our_variable_comes_before_maniskills_and_both_before_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VLM2VLA_ASSETS", str(tmp_path / "ours"))
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "theirs"))
    assert assets.folder() == tmp_path / "ours"
    monkeypatch.delenv("VLM2VLA_ASSETS")
    assert assets.folder() == tmp_path / "theirs"
    monkeypatch.delenv("MS_ASSET_DIR")
    assert assets.folder() == Path.home() / ".maniskill"


@pytest.fixture
def fake_maniskill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """An importable `mani_skill` that has looked for its assets below `tmp_path`."""
    module = types.ModuleType("mani_skill")
    module.ASSET_DIR = tmp_path / "data"  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "mani_skill", module)
    monkeypatch.setenv("VLM2VLA_ASSETS", str(tmp_path))
    monkeypatch.delenv("MS_ASSET_DIR", raising=False)
    return module


def test_missing_assets_stop_the_backend_with_the_command_that_gets_them(fake_maniskill: types.ModuleType) -> None:
    with pytest.raises(AssetsError, match=r"need \d+ files that are not in .*vlm2vla assets download"):
        assets.prepare()


def test_an_early_import_of_maniskill_with_another_folder_is_told_to_the_user(
    fake_maniskill: types.ModuleType, checkout: Path, tmp_path: Path
) -> None:
    assets.link(checkout, tmp_path)
    assert assets.prepare() == tmp_path
    fake_maniskill.ASSET_DIR = Path("/elsewhere/data")  # type: ignore[attr-defined]
    with pytest.raises(AssetsError, match="imported before vlm2vla_sim"):
        assets.prepare()


def test_without_maniskill_the_user_is_given_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vlm2vla_sim\[simpler\]'"):
        assets.prepare()


@pytest.fixture
def downloads(fake_maniskill: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A downloader in the place of ManiSkill's; what it was asked to fetch."""
    asked: list[str] = []

    def download(source: types.SimpleNamespace, *, verbose: bool, non_interactive: bool) -> None:
        assert non_interactive
        (tmp_path / "data" / source.target_path).mkdir(parents=True)
        asked.append(source.url)
        if source.url.startswith("bad"):
            raise OSError("no route to host")

    utils = types.ModuleType("mani_skill.utils")
    utils.download_asset = types.SimpleNamespace(download=download)  # type: ignore[attr-defined]
    data = types.ModuleType("mani_skill.utils.assets.data")
    places = {name: str(place.relative_to("data")) for name, place in assets.SOURCES.items()}
    data.DATA_SOURCES = {  # type: ignore[attr-defined]
        name: types.SimpleNamespace(url=f"good {name}", target_path=place) for name, place in places.items()
    }
    monkeypatch.setitem(sys.modules, "mani_skill.utils", utils)
    monkeypatch.setitem(sys.modules, "mani_skill.utils.assets", types.ModuleType("mani_skill.utils.assets"))
    monkeypatch.setitem(sys.modules, "mani_skill.utils.assets.data", data)
    return asked


def test_only_what_is_missing_is_downloaded_and_nothing_is_asked(
    downloads: list[str], checkout: Path, tmp_path: Path
) -> None:
    assert len(assets.download(tmp_path)) == 2
    assert downloads == ["good bridge_v2_real2sim", "good widowx250s"]
    downloads.clear()
    for place in assets.SOURCES.values():
        (tmp_path / place).rmdir()
    assets.link(checkout, tmp_path)
    assert assets.download(tmp_path) == []
    assert downloads == []


def test_an_incomplete_folder_is_never_replaced_by_a_download(downloads: list[str], tmp_path: Path) -> None:
    write(tmp_path / assets.DATA_SET / "custom/mine.txt")
    with pytest.raises(AssetsError, match="exists but is not complete"):
        assets.download(tmp_path)
    assert downloads == []
    assert (tmp_path / assets.DATA_SET / "custom/mine.txt").exists()


def test_a_failed_download_says_so_and_leaves_no_empty_folder(downloads: list[str], tmp_path: Path) -> None:
    sys.modules["mani_skill.utils.assets.data"].DATA_SOURCES["bridge_v2_real2sim"].url = "bad"
    with pytest.raises(AssetsError, match=r"Could not download bad \(no route to host\).*assets link"):
        assets.download(tmp_path)
    assert not (tmp_path / assets.DATA_SET).exists()


def read_corners(path: Path) -> np.ndarray:
    """(8, 3) the vertices of a binary glTF of ours."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    header = json.loads(data[20 : 20 + size])
    view = header["bufferViews"][header["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    start = 20 + size + 8 + view["byteOffset"]
    return np.frombuffer(data[start : start + view["byteLength"]], "<f4").reshape(-1, 3)


@pytest.mark.parametrize(("name", "height"), [("bridge_table_1_v1.glb", 0.86953), ("bridge_table_1_v2.glb", 0.85)])
def test_a_made_table_top_lies_at_simplers_height_under_the_whole_scene(
    tmp_path: Path, name: str, height: float
) -> None:
    stages.make_table_top(tmp_path / name)
    x, y, z = read_corners(tmp_path / name).T
    # As the scene places it: turned by 90 degrees about x, then moved by OFFSET.
    world = np.stack([x + 2.0634, -z + 2.8313, y], axis=1)
    assert world[:, 2].max() == pytest.approx(height, abs=1e-5)
    assert world[:, :2].min() == pytest.approx(-0.75, abs=1e-5)
    assert world[:, :2].max() == pytest.approx(0.75, abs=1e-5)
