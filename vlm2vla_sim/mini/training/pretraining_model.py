"""The base model with the heads that it is pretrained with; its forward pass gives the losses of a batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from vlm2vla_sim.mini.model.architecture import MiniSize
from vlm2vla_sim.mini.training.data_loader import PretrainingBatch
from vlm2vla_sim.mini.training.dense_targets import DenseHeads
from vlm2vla_sim.mini.training.packing import PackedBatch


class PretrainingModel(torch.nn.Module):
    """The model and its dense heads: one on the patches of the vision tower, one on the language model's image tokens.

    The heads are not saved with the model.
    """

    def __init__(self, model: Any, size: MiniSize) -> None:
        super().__init__()
        self.model = model
        self.heads = torch.nn.ModuleList([DenseHeads(size.vision_hidden), DenseHeads(size.hidden)])

    def forward(self, batch: PretrainingBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The answers' loss (NaN without questions) and the dense loss, both scalars."""
        answers = []
        with torch.autocast("cpu", torch.bfloat16):
            image = self.model.model.get_image_features(batch.pixels, return_dict=True)
            if batch.questions is not None:
                answers.append(answer_loss(answer_logits(self.model, image, batch.questions), batch.questions))
            if batch.texts is not None:
                answers.append(answer_loss(answer_logits(self.model, None, batch.texts), batch.texts))
        features = (image.last_hidden_state, image.pooler_output)
        levels = zip(self.heads, features, batch.dense, strict=True)
        dense = torch.stack([head.loss(tokens, targets) for head, tokens, targets in levels]).sum()  # type: ignore[operator]
        return torch.stack(answers).mean() if answers else torch.tensor(math.nan), dense


def answer_logits(model: Any, image: Any, batch: PackedBatch) -> torch.Tensor:
    """Logits (N, vocabulary) of the answers' tokens.

    image: the result of `get_image_features`, or None if the batch has no images.
    """
    mask = {"full_attention": batch.mask, "sliding_attention": batch.mask}
    hidden = model.model(
        input_ids=batch.token_ids,
        attention_mask=mask,
        position_ids=batch.positions,
        **({} if image is None else {"mm_encoder_outputs": {"image": image}}),
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[batch.predicted_at[:, 0], batch.predicted_at[:, 1]])


def answer_loss(logits: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens with their soft targets; logits: (N, vocabulary)."""
    scores = functional.log_softmax(logits.float(), dim=-1)
    return -(scores.gather(1, batch.targets) * batch.probabilities).sum(1).mean()
