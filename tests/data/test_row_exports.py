"""Training rows exported for other programs hold the same texts and pixels, in the form that each program documents."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from trajectory_fakes import write_folder

from vlm2vla_sim.cli import main
from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.data.examples.folder import read_examples, read_rows, write_examples
from vlm2vla_sim.data.exports.export import export_rows
from vlm2vla_sim.data.exports.formats import OpenAIWriter
from vlm2vla_sim.errors import RunFolderError, SettingError, UnknownNameError

NOISE = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)


def example(number: int, prompt: str = "Where to?", images: int = 1) -> Example:
    return Example("action", tuple(NOISE[:images]), f"{prompt} {number}", f"[[{number}, 0, 0, 1]]")


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "rows"
    write_examples([*(example(number) for number in range(11)), example(11, "भाषा <image>", 2)], folder)
    return folder


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def front_matter(folder: Path) -> dict:
    """The values of the card are written as JSON, which is YAML."""
    begin, front, _ = (folder / "README.md").read_text().split("---\n", 2)
    assert begin == ""
    return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in front.splitlines())}


def test_rows_for_trl_are_prompt_and_completion_with_the_images_in_the_file(rows, tmp_path):
    made = export_rows(rows, tmp_path / "out", "trl", license_name="cc-by-4.0")
    assert (made.rows, made.stages, made.skipped) == (12, {"action": 12}, {})
    (file,) = (tmp_path / "out/data").glob("train-*.parquet")
    table = pq.read_table(file)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["images"] == {"feature": {"_type": "Image"}, "_type": "Sequence"}
    for row, source in zip(table.to_pylist(), read_examples(rows), strict=True):
        assert row["prompt"] == [{"role": "user", "content": source.prompt}]
        assert row["completion"] == [{"role": "assistant", "content": source.completion}]
        assert len(row["images"]) == len(source.images)
        for image, expected in zip(row["images"], source.images, strict=True):
            assert np.array_equal(pixels(image["bytes"]), expected)
    # Noise cannot be compressed: a file with one copy for each of the 13 uses would be seven times the two images.
    assert file.stat().st_size < 2 * NOISE.nbytes
    front = front_matter(tmp_path / "out")
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert (front["license"], front["size_categories"]) == ("cc-by-4.0", ["n<1K"])


def test_rows_for_llama_factory_have_one_token_for_each_image(rows, tmp_path):
    made = export_rows(rows, tmp_path / "out", "llama-factory")
    assert (made.rows, list(made.skipped.values())) == (11, [1]), (
        "a text with <image> in it would ask for a third image"
    )
    lines = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    image = next(iter(read_rows(rows)))["images"][0]
    assert lines[3] == {
        "messages": [
            {"role": "user", "content": "<image>Where to? 3"},
            {"role": "assistant", "content": "[[3, 0, 0, 1]]"},
        ],
        "images": [image],
    }
    assert np.array_equal(pixels((tmp_path / "out" / image).read_bytes()), NOISE[0])
    assert json.loads((tmp_path / "out/dataset_info.json").read_text())["vlm2vla"] == {
        "file_name": "train.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    assert "license" not in front_matter(tmp_path / "out")


def test_rows_for_openai_have_data_urls_before_the_prompt(rows, tmp_path):
    assert export_rows(rows, tmp_path / "out", "openai").rows == 12
    *_, last = (json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines())
    user, assistant = last["messages"]
    assert assistant == {"role": "assistant", "content": "[[11, 0, 0, 1]]"}
    assert [part["type"] for part in user["content"]] == ["image_url", "image_url", "text"]
    assert user["content"][-1]["text"] == "भाषा <image> 11"
    for part, expected in zip(user["content"], NOISE, strict=False):
        kind, _, content = part["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64"
        assert np.array_equal(pixels(base64.b64decode(content)), expected)


def test_what_openai_does_not_take_is_refused(rows, tmp_path, monkeypatch):
    with pytest.raises(SettingError, match=r"There are 9 rows; .* takes 10 at least"):
        export_rows(rows, tmp_path / "few", "openai", limit=9)
    monkeypatch.setattr(OpenAIWriter, "FILE_BYTES", 60_000)
    with pytest.raises(SettingError, match=r"Row 10 is more than .* holds: .*\(--limit 9\)"):
        export_rows(rows, tmp_path / "much", "openai")
    monkeypatch.undo()
    monkeypatch.setattr(OpenAIWriter, "MOST_IMAGES", 1)
    assert export_rows(rows, tmp_path / "pairs", "openai").skipped == {"more than 1 images, OpenAI's limit": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"], "nothing is left of what was refused"


def test_a_row_whose_image_is_missing_is_skipped_and_an_image_of_another_kind_becomes_png(tmp_path):
    folder = tmp_path / "rows"
    write_examples([example(0), example(1)], folder)
    Image.new("L", (8, 8), 7).save(folder / "pictures/grey.bmp")
    lines = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    lines[0]["images"] = ["pictures/grey.bmp"]
    lines += [{**lines[1], "images": ["pictures/none.png"]}, {**lines[1], "images": ["../secret.png"]}]
    lines.append({**lines[1], "completion": " "})
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = export_rows(folder, tmp_path / "out", "llama-factory")
    assert (made.rows, sum(made.skipped.values())) == (2, 3)
    assert pixels((tmp_path / "out/pictures/grey.png").read_bytes()).tolist() == [[[7] * 3] * 8] * 8
    with pytest.raises(RunFolderError, match="exists already"):
        export_rows(folder, tmp_path / "out", "trl")
    with pytest.raises(UnknownNameError, match="trl, llama-factory, openai"):
        export_rows(folder, tmp_path / "other", "axolotl")


def test_the_command_exports_a_label_set_as_training_makes_its_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_folder(Path("set"), 2)
    assert main.main(["relabel", "set", "--out", "labels"]) == 0
    capsys.readouterr()
    arguments = ["export", "labels", "--for", "llama-factory", "--out", "out/rows"]
    assert main.main([*arguments, "--no-reasoning", "--state", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stages"] == {"action": told["rows"]}
    lines = [json.loads(line) for line in Path("out/rows/train.jsonl").read_text().splitlines()]
    assert all("put carrot on plate" in line["messages"][0]["content"] for line in lines[: len(lines) // 2])
    assert "The gripper is" in lines[0]["messages"][0]["content"]
    assert [path.name for path in Path("out").iterdir()] == ["rows"]
    assert "| Gripper state in the prompt | yes |" in Path("out/rows/README.md").read_text()
    assert main.main(arguments) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "--for", "trl"], "is a LeRobot data set; expected a label set"),
        (["labels", "--for", "trl", "--format", "tokens"], "least likely tokens of a model"),
        (["labels", "--for", "trl", "--limit", "-1"], "expected 0 for all rows"),
        (["labels", "--for", "vllm", "--limit", "3"], "--limit is for training rows"),
        (["labels", "--for", "vllm", "--state"], "--state is for training rows"),
        (["rows", "--for", "openai", "--format", "prose"], "format prose cannot be applied"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(arguments, said, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("set/meta").mkdir(parents=True)
    Path("set/meta/info.json").write_text("{}")
    Path("labels").mkdir()
    for name in ("settings.json", "labels.jsonl"):
        Path("labels", name).write_text("{}\n")
    Path("rows").symlink_to(rows)
    assert main.main(["export", *arguments, "--out", "out"]) == 1
    assert said in capsys.readouterr().err
    assert not Path("out").exists()
