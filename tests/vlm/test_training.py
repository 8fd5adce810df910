"""Training teaches the answers and nothing else, sees what evaluation sees, and survives being killed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import random
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from labelled_fakes import make_labelled
from vlm_lane import need_train

need_train()

import killable  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForImageTextToText  # noqa: E402

from vlm2vla_sim.cli import training_rows  # noqa: E402
from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.data.examples.folder import IMAGES, ROWS, read_examples, write_examples  # noqa: E402
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings, to_chat  # noqa: E402
from vlm2vla_sim.errors import RunFolderError, SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question  # noqa: E402
from vlm2vla_sim.policies.models.action_symbols import FILE, read_symbols  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import load_processor  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.training import lora, memory  # noqa: E402
from vlm2vla_sim.training.progress import COMPLETE, STEPS  # noqa: E402
from vlm2vla_sim.training.rows import TokenCounter, open_rows  # noqa: E402
from vlm2vla_sim.training.settings import TrainSettings, preset  # noqa: E402
from vlm2vla_sim.training.trainer import make_trainer  # noqa: E402

LOOP = ("subtasks", "plan", "action", "verify")
SETTINGS = ExampleSettings(get_format("vlm2vla"), stages=LOOP)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """34 rows of training text, on disk."""
    folder = tmp_path_factory.mktemp("train") / "rows"
    write_examples(ExampleMaker(SETTINGS).make(make_labelled(k) for k in range(2)), folder)
    return folder


def tiny(model: Path, **changed) -> TrainSettings:
    given = {"batch": 8, "per_device": 4, "learning_rate": 2e-3, **changed}
    return preset("small", str(model), **given)


@pytest.fixture(scope="module")
def trainer(tiny_folder, rows, tmp_path_factory):
    """The trainer of a LoRA as `train` makes it, before the first step."""
    processor = load_processor(str(tiny_folder))
    work = tmp_path_factory.mktemp("work")
    drawn, _ = open_rows(rows, processor, max_tokens=1024, cache=work / "cache")
    made, _ = make_trainer(tiny(tiny_folder), processor, drawn, work, 1)
    return made


# What is taught.


def test_what_the_trainer_is_fed_is_what_evaluation_sees_and_only_the_answer_is_taught(trainer, tiny_folder, rows):
    model = HfModel(HfSettings(str(tiny_folder), dtype="float32"))
    for example in list(read_examples(rows))[:12]:
        batch = trainer.data_collator([to_chat(example)])
        question = Question(example.stage, example.prompt, example.images)
        seen = model.inputs([question])
        length = seen["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][:, :length], seen["input_ids"]), "the prompt, token for token"
        assert torch.equal(batch["pixel_values"], seen["pixel_values"]), "the pictures, number for number"
        for image, pixels in zip(example.images, batch["pixel_values"], strict=True):
            assert torch.equal(model.prompts.pixels(image)[0], pixels), "also as the fast decoder makes them"
        labels = batch["labels"][0]
        assert (labels[:length] == -100).all(), "neither the prompt nor a piece of an image is taught"
        taught = labels[labels != -100]
        assert torch.equal(taught, batch["input_ids"][0, length:])
        said = model.tokenizer.decode(taught)
        assert said == f"{example.completion}<end_of_turn>\n", "the answer, and that it ends"


def test_no_gradient_comes_from_how_likely_the_prompt_is(trainer, rows):
    """The scores of prompt and image tokens get none; every token of the answer does."""
    batch = trainer.data_collator([to_chat(next(iter(read_examples(rows))))])
    scores: list[torch.Tensor] = []

    def keep(module, inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output.last_hidden_state
        hidden.retain_grad()
        scores.append(hidden)

    hook = trainer.model.get_base_model().model.register_forward_hook(keep)
    try:
        trainer.compute_loss(trainer.model, dict(batch)).backward()
    finally:
        hook.remove()
        trainer.model.zero_grad()
    taught = batch["labels"][0] != -100
    by_place = scores[0].grad[0].abs().sum(-1) > 0
    # The score of a token is made from the state before it.
    assert torch.equal(by_place[:-1], taught[1:])


def test_lora_is_on_the_language_models_linear_layers_and_on_nothing_else(trainer):
    trained = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert trained
    assert all("language_model" in name and "lora_" in name for name in trained)
    assert len(trained) == 2 * 7 * 3, "A and B of q, k, v, o, gate, up, down in three layers"


def test_the_papers_recipe_is_the_default():
    paper = preset("paper", "m")
    assert (paper.rank, paper.alpha, paper.learning_rate, paper.batch, paper.epochs) == (16, 32, 5e-5, 8, 1.0)
    assert (paper.dtype, paper.max_tokens, paper.method, paper.warmup) == ("bfloat16", 1024, "lora", 0.0)
    assert paper.accumulation(4) == 2, "four GPUs with one row each, as in the paper"
    with pytest.raises(SettingError, match="batch of 8 cannot be divided among 3"):
        paper.accumulation(3)


# What is left.


def test_a_trained_adapter_is_one_that_evaluation_loads_and_it_says_what_it_is_made_of(tiny_folder, rows, tmp_path):
    out = tmp_path / "adapter"
    done = lora.train(tiny(tiny_folder, epochs=2), rows, out)
    assert {path.name for path in out.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
        "losses.jsonl",
    }
    assert not out.with_name("adapter.work").exists()
    record = json.loads((out / "training.json").read_text())
    assert record["data"]["rows"] == done.rows == 34
    assert record["settings"]["rank"] == 16
    assert {"torch", "transformers", "peft", "trl", "vlm2vla_sim"} <= record["versions"].keys()
    assert len(record["prompts_sha256"]) == len(record["data"]["sha256"]) == len(record["base"]["fingerprint"]) == 64
    losses = [json.loads(line)["loss"] for line in (out / "losses.jsonl").read_text().splitlines()]
    assert len(losses) == done.steps == 10
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.5, "it learns"
    HfModel(HfSettings(str(tiny_folder), str(out), dtype="float32"))  # refuses an adapter that changes nothing
    with pytest.raises(RunFolderError, match="exists already"):
        lora.train(tiny(tiny_folder), rows, out)


def test_an_adapter_goes_on_learning_from_where_it_was(tiny_folder, rows, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    lora.train(tiny(tiny_folder), rows, first)
    lora.train(tiny(tiny_folder, adapter=str(first), learning_rate=1e-7), rows, second)
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (first, second))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-5, rtol=0) for name in before)
    assert any(not torch.equal(before[name], after[name]) for name in before), "and it learnt"
    record = json.loads((second / "training.json").read_text())
    assert record["went_on_from"] == json.loads((first / "training.json").read_text())
    with pytest.raises(SettingError, match=r"is a set of training rows; expected a LoRA adapter"):
        lora.train(tiny(tiny_folder, adapter=str(rows)), rows, tmp_path / "third")
    with pytest.raises(SettingError, match="cannot be trained with --method full"):
        tiny(tiny_folder, adapter=str(first), method="full")


def test_an_adapter_that_fits_in_part_is_not_trained_further(tiny_folder, rows, adapter_folder, tmp_path, capsys):
    part = shutil.copytree(adapter_folder, tmp_path / "part")
    weights = load_file(part / "adapter_model.safetensors")
    for count, name in ((0, r"\.language_model\."), (24, r"\.mlp\.")):
        other = {re.sub(name, ".other.", key): value for key, value in weights.items()}
        save_file(other, part / "adapter_model.safetensors")
        out = tmp_path / "out"
        words = ["train", str(rows), "--model", str(tiny_folder), "--adapter", str(part), "--out", str(out)]
        assert main([*words, "--preset", "small", "--batch", "8", "--per-device", "4"]) != 0
        assert f"{count} of the 42 weights in its file fit" in capsys.readouterr().err
        assert not list(tmp_path.glob("out*")), "nothing is left in the way of the next try"


def test_two_processes_learn_together_what_one_learns_alone(tiny_folder, rows, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lora.train(tiny(tiny_folder), rows, tmp_path / "alone")
    words = ["train", str(rows), "--model", str(tiny_folder), "--preset", "small", "--batch", "8", "--per-device", "4"]
    together = ["--learning-rate", "2e-3", "--launch", "cpu", "--processes", "2", "--json"]
    assert main([*words, *together, "--out", str(tmp_path / "together")]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["processes"] == 2
    assert told["rows"] == 34
    one, two = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "losses.jsonl").read_text().splitlines()]
        for name in ("alone", "together")
    )
    assert len(two) == len(one) == 5
    assert two[:4] == pytest.approx(one[:4], abs=2e-3), "all but the last, whose two rows are made up to a batch"


def test_full_fine_tuning_leaves_a_model_whose_every_weight_moved(tiny_folder, rows, tmp_path):
    out = tmp_path / "full"
    lora.train(tiny(tiny_folder, method="full"), rows, out)
    before, after = (
        AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").state_dict()
        for folder in (tiny_folder, out)
    )
    still = {name for name, weight in after.items() if torch.equal(weight, before[name])}
    # The tower's own pooling is never asked by Gemma 3, so nothing can teach it.
    assert {name for name in still if "vision_tower.head" not in name} == set(), "vision tower and projector included"
    HfModel(HfSettings(str(out), dtype="float32"))


def test_other_families_get_their_adapter_on_the_language_model_too(tmp_path, rows):
    from test_other_families import make_llava

    folder = make_llava(tmp_path / "llava")
    out = tmp_path / "adapter"
    lora.train(tiny(folder, epochs=0.25), rows, out)
    layers = HfModel(HfSettings(str(folder), str(out), dtype="float32")).model.named_parameters()
    adapted = [name for name, _ in layers if "lora_A" in name]
    assert len(adapted) == 2 * 7
    assert all("language_model" in name for name in adapted)


# What goes wrong.


@pytest.mark.parametrize("name", ["run:2", "rows[1]", "r*s", "a::b", "100 % %03d", "http:", "-l", "q'\"", "é 胡"])
def test_rows_of_a_folder_with_any_name_are_read_and_no_others(tiny_folder, rows, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(rows, name)
    (other := tmp_path / "rXs").mkdir()
    (other / ROWS).write_text((rows / ROWS).read_text())
    opened, _ = open_rows(Path(name), load_processor(str(tiny_folder)), max_tokens=1024, cache=Path(name) / "cache")
    assert len(opened) == 34
    assert [row["prompt"] for row in opened] == [to_chat(example)["prompt"] for example in read_examples(rows)]


def test_rows_that_cannot_be_trained_on_are_left_out_each_with_its_reason(tiny_folder, rows, tmp_path):
    folder = tmp_path / "rows"
    shutil.copytree(rows, folder)
    lines = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
    good = lines[0]
    (folder / IMAGES / "broken.png").write_bytes((folder / good["images"][0]).read_bytes()[:300])
    lines += [
        {**good, "images": [f"{IMAGES}/gone.png"]},
        {**good, "images": [f"{IMAGES}/broken.png"]},
        {**good, "images": []},
        {**good, "completion": "  "},
        {**good, "completion": "far " * 1200},
        {"stage": "plan"},
    ]
    (folder / ROWS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn, skipped = open_rows(folder, load_processor(str(tiny_folder)), max_tokens=1024, cache=tmp_path / "cache")
    assert len(drawn) == 34
    assert skipped == {
        "a missing image": 1,
        "a broken image": 1,
        "no image": 1,
        "an empty completion": 1,
        "longer than 1024 tokens": 1,
        "a field is missing": 1,
    }
    assert np.array_equal(np.asarray(drawn[33]["images"][0]), list(read_examples(rows))[33].images[0])
    with pytest.raises(SettingError, match=r"No row of .*longer than 5 tokens: 34"):
        open_rows(rows, load_processor(str(tiny_folder)), max_tokens=5, cache=tmp_path / "cache")


def test_rows_longer_than_the_models_context_are_refused_before_anything_is_loaded(tiny_folder, rows, tmp_path):
    with pytest.raises(SettingError, match=r"up to 8193 tokens .* at most 8192 \(max_position_embeddings\)"):
        lora.train(tiny(tiny_folder, max_tokens=8193), rows, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_tokens_are_counted_as_the_trainer_makes_them(trainer, tiny_folder, rows):
    counted = TokenCounter(load_processor(str(tiny_folder)))
    for example in list(read_examples(rows))[:10]:
        made = trainer.data_collator([to_chat(example)])["input_ids"].shape[1]
        sizes = tuple((image.shape[1], image.shape[0]) for image in example.images)
        assert counted.count(sizes, example.prompt, example.completion) == made


def test_memory_is_estimated_before_anything_is_loaded(tiny_folder):
    paper = memory.estimate(preset("paper", "google/gemma-3-12b-it"))
    assert paper.trained == pytest.approx(65.5e6, rel=0.01)
    assert 25e9 < paper.total < 60e9, "one 80 GB GPU, as models of this size are known to need"
    full = memory.estimate(preset("paper", "google/gemma-3-12b-it", method="full"))
    assert full.total > 190e9, "16 bytes for each of 12 G weights"
    with pytest.raises(SettingError, match="--launch fsdp"):
        memory.check(full, memory.Memory(ram=2**34, gpu=80 * 10**9), on_gpu=True)
    made = AutoModelForImageTextToText.from_pretrained(tiny_folder, dtype="float32")
    everything = memory.estimate(tiny(tiny_folder, method="full"))
    assert everything.trained == sum(weight.numel() for weight in made.parameters())


# Being killed.


def test_killed_at_random_steps_it_goes_on_and_ends_where_it_would_have(tiny_folder, rows, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killable"])
    chance = random.Random(7)

    def start(out: Path, *, resume: bool):
        # Its own words, with the resources of a fork that has the heavy packages.
        process = context.Process(
            target=killable.run, args=(str(tiny_folder), str(rows), str(out)), kwargs={"resume": resume}
        )
        process.start()
        return process

    whole = start(tmp_path / "whole", resume=False)
    whole.join(120)
    assert whole.exitcode == 0
    out, work = tmp_path / "killed", tmp_path / "killed.work"
    kills = 0
    process = start(out, resume=False)
    for reached in (2, 5):
        while process.is_alive() and len(_steps(work)) < reached:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.15))  # in the middle of a step, or of writing a checkpoint
        process.kill()
        process.join(60)
        assert process.exitcode == -9
        assert not out.exists(), "nothing that looks like an adapter"
        kills += 1
        process = start(out, resume=True)
    process.join(120)
    assert process.exitcode == 0
    records = [json.loads((tmp_path / name / "training.json").read_text()) for name in ("whole", "killed")]
    assert len(records[1]["result"]["resumed"]) == kills == 2
    assert records[0]["result"]["steps"] == records[1]["result"]["steps"] == 9
    assert records[1]["result"]["final_loss"] == pytest.approx(records[0]["result"]["final_loss"], abs=1e-3)
    losses = [
        [json.loads(line) for line in (tmp_path / name / "losses.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert [line["step"] for line in losses[1]] == [line["step"] for line in losses[0]] == list(range(1, 10))
    np.testing.assert_allclose([x["loss"] for x in losses[1]], [x["loss"] for x in losses[0]], atol=1e-3)


def _steps(work: Path) -> list[str]:
    path = work / STEPS
    return path.read_text().splitlines() if path.exists() else []


def test_a_stopped_training_goes_on_only_when_asked_and_only_with_its_own_settings(tiny_folder, rows, tmp_path):
    settings, out = tiny(tiny_folder, save_every=1), tmp_path / "out"

    def stop(line: str) -> None:
        if "rows" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lora.train(settings, rows, out, report=stop)
    half = tmp_path / "out.work" / "checkpoint-3"
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(RunFolderError, match="--resume"):
        lora.train(settings, rows, out)
    with pytest.raises(RunFolderError, match=r"was made with settings\.rank 16, not 8"):
        lora.train(dataclasses.replace(settings, rank=8), rows, out, resume=True)
    done = lora.train(settings, rows, out, resume=True)
    assert done.steps == 5, "from the start: half a checkpoint is none"
    assert COMPLETE == "complete"


def test_a_training_goes_on_only_from_the_weights_it_was_begun_with(tiny_folder, rows, tmp_path):
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    settings, out = tiny(model, save_every=1, epochs=2), tmp_path / "out"

    def stop(line: str) -> None:
        if line.startswith("step 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lora.train(settings, rows, out, report=stop)
    start = lora.last_complete(tmp_path / "out.work")
    assert start is not None
    kept = load_file(start / "adapter_model.safetensors")
    save_file({key.replace(".mlp.", ".other."): v for key, v in kept.items()}, start / "adapter_model.safetensors")
    with pytest.raises(SettingError, match=r"24 of the 42 weights in its file fit"):
        lora.train(settings, rows, out, resume=True)
    save_file(kept, start / "adapter_model.safetensors")
    right = load_file(model / "model.safetensors")
    wrong = {name: value + 0.01 for name, value in right.items()}
    save_file(wrong, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunFolderError, match=r"was made with base_digest \w{64}, not \w{64}"):
        lora.train(settings, rows, out, resume=True)
    shutil.copyfile(tiny_folder / "model.safetensors", model / "model.safetensors")
    assert lora.train(settings, rows, out, resume=True).resumed
    record = json.loads((out / "training.json").read_text())["base"]
    assert record["digest"] == hashlib.sha256((tiny_folder / "model.safetensors").read_bytes()).hexdigest()
    assert HfModel(HfSettings(str(tiny_folder), str(out), dtype="float32")).provenance()["base_checked"] == "digest"


def test_a_full_fine_tuning_that_was_stopped_goes_on_from_what_it_had_learnt(tiny_folder, rows, tmp_path):
    settings = tiny(tiny_folder, method="full", epochs=2, save_every=1)
    steps: list[str] = []

    def stop(line: str) -> None:
        steps.extend([line] if line.startswith("step") else [])
        if len(steps) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lora.train(settings, rows, tmp_path / "stopped", report=stop)
    assert lora.last_complete(tmp_path / "stopped.work") is not None
    whole = lora.train(settings, rows, tmp_path / "whole")
    stopped = lora.train(settings, rows, tmp_path / "stopped", resume=True)
    assert stopped.resumed
    assert stopped.resumed[-1] > 0
    assert stopped.final_loss == pytest.approx(whole.final_loss, abs=1e-3)


# The command.


def test_the_command_makes_rows_with_the_models_own_rare_tokens_and_leaves_them_with_the_adapter(
    tiny_folder, tmp_path, monkeypatch, capsys
):
    from vlm2vla_sim.cli.main import main

    monkeypatch.setattr(training_rows, "read_labelled", lambda path: iter([make_labelled(0), make_labelled(1)]))
    (tmp_path / "data").mkdir()
    out = tmp_path / "adapter"
    words = ["train", str(tmp_path / "data"), "--model", str(tiny_folder), "--out", str(out), "--preset", "small"]
    assert main([*words, "--format", "tokens", "--no-reasoning", "--batch", "4", "--per-device", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"] == 8
    assert said["steps"] == 2
    symbols = read_symbols(str(out))
    assert json.loads((out / "training.json").read_text())["data"]["about"]["symbols"] == list(symbols)
    assert (out / FILE).is_file()
    actions = [row.completion for row in read_examples(tmp_path / "adapter.rows")]
    assert all(get_format("tokens", symbols=symbols).read(text) for text in actions)
    assert main([*words, "--format", "tokens", "--no-reasoning"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_the_command_says_what_it_would_need(tiny_folder, tmp_path, capsys):
    from vlm2vla_sim.cli.main import main

    words = ["train", str(tmp_path), "--model", "google/gemma-3-12b-it", "--out", "x", "--estimate"]
    assert main(words) == 0
    assert "65.5 M weights are trained" in capsys.readouterr().out
