"""One of several processes that train a tiny base together; `torchrun` starts it for `test_mini_crew`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch

from vlm2vla_sim.mini.model.model import MiniSize
from vlm2vla_sim.mini.training.pretrain import pretrain
from vlm2vla_sim.mini.training.process_group import Crew
from vlm2vla_sim.mini.training.recipe import Recipe
from vlm2vla_sim.mini.training.vocabulary import texts

RECIPE = Recipe(looks=2, updates=3, settles=2, pages=2, pictures=4, settled_pictures=2, questions=2, warmup=2)
SIZE = MiniSize(hidden=64, layers=1, heads=2, feed_forward=64, vision_hidden=64, vision_layers=1)


def averaged(crew: Crew) -> list[list[float] | None]:
    """Of three weights: one that all have a gradient of, one that the last alone has, one that nobody has."""
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    weights[0].grad = torch.tensor([1.0, 2.0]) * (crew.number + 1)
    if crew.number == crew.size - 1:
        weights[1].grad = torch.tensor([4.0, 8.0])
    crew.average(weights)
    return [None if weight.grad is None else weight.grad.tolist() for weight in weights]


def main(folder: Path) -> None:
    """Writes what this process has in the end to a file of its own."""
    torch.set_num_threads(1)
    crew = Crew.join()
    told = {"gradients": averaged(crew), "total": crew.total(crew.number + 1)}
    lines: list[str] = []
    model = pretrain(
        folder / "album", folder / "base", texts=list(texts()), recipe=RECIPE, size=SIZE, report=lines.append
    )
    weights = b"".join(weight.detach().numpy().tobytes() for weight in model.parameters())
    told.update(lines=lines, weights=hashlib.sha256(weights).hexdigest())
    (folder / f"{crew.number}.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
