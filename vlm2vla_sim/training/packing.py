"""Lays several rows in one sequence, where the positions of each begin at 0 and none attends to another.

TRL packs rows of text only. transformers 5.23 tells the rows of a sequence apart by their positions, but looks up the
image tokens of Gemma 3, which attend to one another in both directions, at the position within the row instead of in
the sequence, so that each row after the first gets wrong masks. Here they are made for it.
"""

from __future__ import annotations

from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.training.settings import TrainSettings

try:
    import torch
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "torch", "train") from error

_LLAVA = ("llava", "llava_onevision")
_QWEN = ("qwen2_5_vl", "qwen3_vl")
BY_POSITION = ("gemma4", "glm4v", "internvl", *_LLAVA, "mistral3", *_QWEN, "smolvlm")
"""Types of models whose attention is causal in every layer; transformers masks other rows by the positions."""
BY_MASK = ("gemma3",)
"""Types of models that get masks of `row_masks`."""
TRIAL_ROWS = 4
AGREEMENT = {"float32": 1e-5, "bfloat16": 2e-2}
"""Relative difference of the loss of packed and of padded rows up to which they count as equal, by dtype."""


class PackingCollator:
    """Makes a batch of rows and lays them one behind the other, in their order, as many as fit in a sequence."""

    def __init__(self, model: Any, collate: Any, max_tokens: int) -> None:
        """Prepare `model` for packed rows; SettingError for a type of model that is not known to separate them.

        collate: makes a batch of rows, padded on the right, with labels. max_tokens: maximum length of a sequence.
        """
        kind = model.config.model_type
        both_ways = getattr(model.config.get_text_config(), "use_bidirectional_attention", None)  # of Gemma 4
        if kind not in (*BY_POSITION, *BY_MASK) or both_ways:
            raise SettingError(
                f"Rows of a {kind!r} model cannot be packed: its layers are not known to keep the rows of a sequence "
                f"apart (known: {', '.join(sorted((*BY_POSITION, *BY_MASK)))}). Leave out --packing."
            )
        self._collate, self._max_tokens = collate, max_tokens
        base = getattr(model, "get_base_model", lambda: model)().model
        self._rope_index = getattr(base, "get_rope_index", None)
        if kind in BY_MASK:
            base.register_forward_pre_hook(_give_masks, with_kwargs=True)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch whose sequences hold the rows in their order; without attention mask."""
        batch = dict(self._collate(rows))
        mask = batch.pop("attention_mask").bool()
        sequence = [name for name, value in batch.items() if getattr(value, "shape", None) == mask.shape]
        parts = [{name: batch[name][row][here] for name in sequence} for row, here in enumerate(mask)]
        positions = self._positions(batch, mask)
        bins = fill([len(part["input_ids"]) for part in parts], self._max_tokens)
        fillers = {"labels": -100}
        for name in sequence:
            joined = [torch.cat([parts[row][name] for row in one]) for one in bins]
            batch[name] = torch.nn.utils.rnn.pad_sequence(joined, batch_first=True, padding_value=fillers.get(name, 0))
        length = batch["input_ids"].shape[1]
        batch["position_ids"] = torch.stack(
            [_pad_positions(torch.cat([positions[row] for row in one], dim=-1), length) for one in bins], dim=-2
        )
        return batch

    def _positions(self, batch: dict[str, Any], mask: torch.Tensor) -> list[torch.Tensor]:
        """Of each row (length,), or (4, length) for a model that rotates by time, height and width as well."""
        plain = [torch.arange(int(count)) for count in mask.sum(1)]
        if self._rope_index is None:
            return plain
        names = ("mm_token_type_ids", "image_grid_thw")
        given = {name: batch[name] for name in names if name in batch}
        made, _ = self._rope_index(batch["input_ids"], attention_mask=mask.long(), **given)
        return [torch.cat([one[None], made[:, row][:, mask[row]]]) for row, one in enumerate(plain)]


def fill(lengths: list[int], most: int) -> list[list[int]]:
    """The rows of each sequence, in their order: a row that does not fit begins the next one.

    >>> fill([300, 500, 400, 900], 1024)
    [[0, 1], [2], [3]]
    """
    bins: list[list[int]] = []
    free = 0
    for row, length in enumerate(lengths):
        if not bins or length > free:
            bins.append([])
            free = most
        bins[-1].append(row)
        free -= length
    return bins


def _pad_positions(positions: torch.Tensor, length: int) -> torch.Tensor:
    """Padding is a row of its own."""
    rest = torch.arange(length - positions.shape[-1]).expand(*positions.shape[:-1], -1)
    return torch.cat([positions, rest], dim=-1)


def row_masks(positions: torch.Tensor, images: torch.Tensor, window: int) -> dict[str, torch.Tensor]:
    """Which tokens a token of a Gemma 3 attends to, (B, 1, L, L) bool, in both kinds of layers.

    positions: (B, L), from 0 in each row. images: (B, L) bool. Those before it in its row, and all of its own image
    (transformers@5.23 models/gemma3/modeling_gemma3.py `create_masks_for_vision_model`).
    """
    row = (positions == 0).cumsum(1)
    begins = images & ~torch.nn.functional.pad(images, (1, 0))[:, :-1]
    image = torch.where(images, begins.cumsum(1), -1)
    index = torch.arange(positions.shape[1], device=positions.device)
    causal = index[None, :] <= index[:, None]
    same_image = (image[:, :, None] == image[:, None, :]) & images[:, :, None]
    full = (row[:, :, None] == row[:, None, :]) & (causal | same_image)
    near = index[None, :] > index[:, None] - window
    return {"full_attention": full[:, None], "sliding_attention": (full & near)[:, None]}


def _give_masks(module: Any, arguments: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Before the forward pass of a Gemma 3: masks for packed rows, which come without an attention mask."""
    positions, kinds = given.get("position_ids"), given.get("token_type_ids")
    if given.get("attention_mask") is not None or positions is None or kinds is None:
        return arguments, given
    text = module.config.get_text_config()
    masks: dict[str, torch.Tensor] = row_masks(positions, kinds == 1, text.sliding_window)
    if text._attn_implementation == "eager":
        low = torch.finfo(module.dtype).min
        masks = {name: torch.where(mask, 0.0, low).to(module.dtype) for name, mask in masks.items()}
    return arguments, {**given, "attention_mask": masks}


def pack_rows(trainer: Any, rows: Any, settings: TrainSettings) -> None:
    """Let the trainer pack rows; SettingError unless the first of `rows` have the same loss packed and padded."""
    collate = trainer.data_collator
    trainer.data_collator = PackingCollator(trainer.model, collate, settings.max_tokens)
    count = min(TRIAL_ROWS, len(rows))
    padded, packed = (  # TRL's collator changes the rows that it is given, so each gets its own
        _loss(trainer, made([rows[number] for number in range(count)])) for made in (collate, trainer.data_collator)
    )
    if not abs(packed - padded) <= AGREEMENT[settings.dtype] * abs(padded):
        raise SettingError(
            f"Rows of this {trainer.model.config.model_type!r} model cannot be packed: with transformers as installed, "
            f"the loss of {count} rows is {packed:.5f} packed and {padded:.5f} padded. Leave out --packing."
        )


def _loss(trainer: Any, batch: dict[str, Any]) -> float:
    model = trainer.model
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            moved = {name: value.to(model.device) for name, value in batch.items()}
            return float(model(**moved, fused_lm_head=True).loss)
    finally:
        model.train(training)
