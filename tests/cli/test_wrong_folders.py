"""Every command that reads a folder reads its own kinds, and names what it was given for any other kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from labelled_fakes import make_labelled
from trajectory_fakes import write_folder

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.core.folder_kind import KINDS, folder_kind
from vlm2vla_sim.data.examples.folder import write_examples
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings
from vlm2vla_sim.evaluation.operator.episode_log import EpisodeLog, SessionSettings
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.spec import PolicySpec

NAMES = {
    "run": "a run of `vlm2vla evaluate`",
    "session": "a session of `vlm2vla robot session`",
    "labels": "a label set of `vlm2vla relabel`",
    "rows": "a set of training rows",
    "dataset": "a LeRobot data set",
    "training": "an unfinished training run",
    "adapter": "a LoRA adapter",
    "model": "a model",
    "questions": "a set of VQA questions",
    "retention": "a result of `vlm2vla vqa`",
    "logprob": "a result of `vlm2vla logprob`",
}

COMMANDS = {
    "inspect": (lambda path, out: ["inspect", path, "--out", out], ("labels", "dataset")),
    "relabel": (lambda path, out: ["relabel", path, "--out", out], ("dataset",)),
    "train": (lambda path, out: ["train", path, "--model", "/no/such", "--out", out], ("labels", "rows")),
    "trace": (lambda path, out: ["trace", path], ("run",)),  # the session of these tests has no episode yet
    "logprob": (lambda path, out: ["logprob", "--model", "/no/such", "--data", path], ("labels",)),
}
"""Command -> its arguments for a folder and an output, and the kinds of folders that it reads."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One folder of every kind, written by the package where that takes no model."""
    root = tmp_path_factory.mktemp("folders")
    paths = {name: root / name for name in NAMES}
    assert main(["evaluate", "--policy", "hold", "--backend", "point", "--tasks", "carrot_on_plate", "--episodes", "1",
                 "--out", str(paths["run"]), "--no-video"]) in (0, 3)  # fmt: skip
    EpisodeLog(paths["session"], SessionSettings((PolicySpec("hold"),), ("carrot_on_plate",), 1), resume=False).close()
    write_folder(paths["dataset"], 1)
    assert main(["relabel", str(paths["dataset"]), "--out", str(paths["labels"])]) == 0
    write_examples(ExampleMaker(ExampleSettings(get_format("vlm2vla"))).make([make_labelled(0)]), paths["rows"])
    by_hand = {
        "training": ("settings.json", "steps.jsonl"),
        "adapter": ("adapter_config.json", "adapter_model.safetensors"),
        "model": ("config.json",),
        "questions": ("questions.jsonl",),
        "retention": ("retention.json",),
        "logprob": ("logprob.json",),
    }
    for name, files in by_hand.items():
        paths[name].mkdir()
        for file in files:
            (paths[name] / file).write_text("{}\n")
    return paths


def test_every_kind_is_recognised(folders):
    found = {name: folder_kind(path) for name, path in folders.items()}
    assert all(kind is not None and kind.name.startswith(NAMES[name]) for name, kind in found.items()), found
    assert {kind.name for kind in found.values() if kind} | {"an RLDS data set"} == {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_its_own_kinds_and_names_every_other(folders, tmp_path, capsys, command, kind):
    arguments, reads = COMMANDS[command]
    if command in ("train", "logprob"):
        pytest.importorskip("torch", reason="needs the extra vlm")
        pytest.importorskip("trl" if command == "train" else "transformers", reason="needs the extra train")
    code = main([str(word) for word in arguments(folders[kind], tmp_path / "out")])
    told = capsys.readouterr().err
    if kind in reads:
        assert NAMES[kind] not in told
        assert code == 0 or "/no/such" in told, "only the model is missing"
        return
    if command == "trace" and kind == "session":
        assert "holds no episode" in told or NAMES[kind] in told
        return
    assert code == 1
    assert f"{folders[kind]} is {NAMES[kind]}" in told
    assert "expected" in told
    assert not (tmp_path / "out").exists()


def test_watch_shows_sessions_only(folders, capsys):
    for kind in ("run", "labels", "dataset", "adapter"):
        assert main(["watch", str(folders[kind])]) == 1
        assert f"{folders[kind]} is {NAMES[kind]}" in capsys.readouterr().err


def test_a_run_points_to_the_command_that_reads_it(folders, tmp_path, capsys):
    """It ended in a KeyError: a run has a settings.json as well."""
    assert main(["inspect", str(folders["run"]), "--out", str(tmp_path / "page.html")]) == 1
    assert f"`vlm2vla trace {folders['run']}` prints its episodes." in capsys.readouterr().err


def test_options_of_a_data_set_are_refused_for_a_label_set(folders, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["inspect", str(folders["labels"]), "--picture", "images1", "--out", str(page)]) == 1
    assert "--picture cannot be applied" in capsys.readouterr().err
    assert not page.exists()


def test_labels_written_by_an_earlier_version_are_read(folders, tmp_path):
    """An option of the data set that no longer exists is ignored."""
    labels = tmp_path / "labels"
    labels.mkdir()
    for path in folders["labels"].iterdir():
        if path.is_file():
            (labels / path.name).write_bytes(path.read_bytes())
    settings = json.loads((labels / "settings.json").read_text())
    settings["source"]["an option that was removed"] = 1
    (labels / "settings.json").write_text(json.dumps(settings))
    assert main(["inspect", str(labels), "--out", str(tmp_path / "page.html")]) == 0
