"""What is taught is what evaluation lets the model write, for every kind of tokenizer; other rows are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_fakes import make_labelled
from vlm_lane import need_train

need_train()

from test_tokenizers import END, with_tokenizer  # noqa: E402
from tokenizer_kinds import KINDS, as_transformers  # noqa: E402

from vlm2vla_sim.data.examples.folder import read_examples, write_examples  # noqa: E402
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings, to_chat  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.models.answer_frame import answer_text  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import load_processor  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.random_model import save_random_model  # noqa: E402
from vlm2vla_sim.training.rows import open_rows  # noqa: E402
from vlm2vla_sim.training.settings import preset  # noqa: E402
from vlm2vla_sim.training.trainer import make_trainer  # noqa: E402


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "rows"
    settings = ExampleSettings(get_format("vlm2vla"), stages=("action", "verify"))
    write_examples(ExampleMaker(settings).make(make_labelled(k) for k in range(2)), folder)
    return folder


@pytest.mark.parametrize("kind", ["llama-2", "byte-level with prefix", "llama-3"])
def test_the_trainers_tokens_of_an_action_are_those_that_evaluation_allows(kind, rows, tmp_path):
    folder = with_tokenizer(save_random_model(tmp_path / "model"), kind)
    processor = load_processor(str(folder))
    drawn, skipped = open_rows(rows, processor, max_tokens=4096, cache=tmp_path / "cache")
    assert skipped == {}
    settings = preset("small", str(folder), batch=8, per_device=4)
    trainer, _ = make_trainer(settings, processor, drawn, tmp_path / "work", 1)
    model = HfModel(HfSettings(str(folder), dtype="float32"))
    grammar = get_format("vlm2vla").grammar()
    for example in [example for example in read_examples(rows) if example.stage == "action"][:6]:
        labels = trainer.data_collator([to_chat(example)])["labels"][0]
        taught = labels[labels != -100].tolist()
        state = model._grammars.start(grammar)
        for token in taught[: taught.index(END) + 1]:
            assert token in state.allowed().tolist()
            state.consume(token)
        assert answer_text(model.tokenizer, taught[: taught.index(END)], model._frame) == example.completion


def test_rows_that_the_tokenizer_changes_are_left_out_and_counted(rows, tmp_path):
    processor = load_processor(str(save_random_model(tmp_path / "model")))
    processor.tokenizer = as_transformers(KINDS["commas"]())
    actions = sum(example.stage == "action" for example in read_examples(rows))
    drawn, skipped = open_rows(rows, processor, max_tokens=4096, cache=tmp_path / "cache")
    assert skipped == {"an answer that the model's tokenizer changes": actions}
    assert {row["completion"][0]["content"][0]["text"] for row in drawn} <= {"advance", "retry"}


def test_an_answer_that_holds_a_special_token_is_left_out(rows, tmp_path):
    examples = list(read_examples(rows))
    broken = type(examples[0])("plan", examples[0].images, examples[0].prompt, "move <end_of_turn> down")
    write_examples([examples[0], broken], tmp_path / "rows")
    processor = load_processor(str(save_random_model(tmp_path / "model")))
    _, skipped = open_rows(tmp_path / "rows", processor, max_tokens=4096, cache=tmp_path / "cache")
    assert skipped == {"an answer that the model's tokenizer changes": 1}


def test_a_chat_template_that_never_ends_an_answer_is_refused(rows, tmp_path):
    processor = load_processor(str(save_random_model(tmp_path / "model")))
    processor.chat_template = processor.chat_template.replace("<end_of_turn>", "")
    with pytest.raises(SettingError, match="puts no special token after an answer"):
        open_rows(rows, processor, max_tokens=4096, cache=tmp_path / "cache")
