"""Rows exported for TRL are read by `datasets` and trained on by TRL's own trainer, on the tokens that ours makes."""

from __future__ import annotations

import pytest
from labelled_fakes import make_labelled
from lane import need

need("vlm", "datasets", "trl", "huggingface_hub", extra="train")

import datasets  # noqa: E402
from huggingface_hub import DatasetCard  # noqa: E402
from transformers import AutoModelForImageTextToText  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402
from trl.data_utils import prepare_multimodal_messages  # noqa: E402

from vlm2vla_sim.data.examples.folder import read_examples, write_examples  # noqa: E402
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings, to_chat  # noqa: E402
from vlm2vla_sim.data.exports.export import export_rows  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import load_processor  # noqa: E402


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("trl")
    maker = ExampleMaker(ExampleSettings(get_format("vlm2vla")))
    write_examples(maker.make([make_labelled(0)]), root / "rows")
    export_rows(root / "rows", root / "out", "trl", license_name="mit")
    return root / "rows", root / "out", root / "cache"


def test_the_messages_are_those_that_our_trainer_gets(folders):
    rows, out, cache = folders
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(cache))
    assert len(loaded) == len(list(read_examples(rows))) > 10
    for row, example in zip(loaded, read_examples(rows), strict=True):
        ours = to_chat(example)
        messages = prepare_multimodal_messages(row["prompt"] + row["completion"], images=row["images"])
        expected = prepare_multimodal_messages(ours["prompt"] + ours["completion"], images=ours["images"])
        for found, wanted in zip(messages, expected, strict=True):
            assert found["role"] == wanted["role"]
            for part, other in zip(found["content"], wanted["content"], strict=True):
                assert part["type"] == other["type"]
                assert part.get("text") == other.get("text")
                if part["type"] == "image":
                    assert part["image"].tobytes() == other["image"].tobytes()


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing:FutureWarning")  # TRL 1.16's own default
def test_two_steps_of_trls_trainer_run_on_them(folders, tiny_folder, tmp_path):
    _, out, cache = folders
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(cache))
    settings = SFTConfig(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=2,
        max_length=None,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    model = AutoModelForImageTextToText.from_pretrained(tiny_folder)
    trainer = SFTTrainer(model, args=settings, train_dataset=loaded, processing_class=load_processor(str(tiny_folder)))
    done = trainer.train()
    assert done.global_step == 2
    assert 0 < done.training_loss < 20


def test_the_hub_reads_the_card(folders):
    card = DatasetCard.load(folders[1] / "README.md")
    assert (card.data.license, card.data.task_categories) == ("mit", ["robotics", "image-text-to-text"])
    assert card.data.configs[0]["config_name"] == "default"
