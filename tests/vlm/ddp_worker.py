"""One of several processes that train a tiny base model; `torchrun` starts it for `test_mini_ddp`."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import torch
from torch import distributed

from vlm2vla_sim.mini.model.architecture import MiniSize, make_model, make_processor
from vlm2vla_sim.mini.model.checkpoint import CHECKPOINT
from vlm2vla_sim.mini.model.tokenizer import make_tokenizer
from vlm2vla_sim.mini.training.data_loader import PretrainingData
from vlm2vla_sim.mini.training.packing import Packer
from vlm2vla_sim.mini.training.pretrain import pretrain
from vlm2vla_sim.mini.training.pretraining_model import PretrainingModel
from vlm2vla_sim.mini.training.process_group import ProcessGroup
from vlm2vla_sim.mini.training.recipe import PretrainingRecipe
from vlm2vla_sim.mini.training.vocabulary import texts

RECIPE = PretrainingRecipe(
    vision_updates=2, qa_updates=3, annealing_updates=2, annealing_texts=2, images=4, annealing_images=2, questions=2,
    warmup=2, checkpoint_every=4,
)  # fmt: skip
SIZE = MiniSize(hidden=64, layers=1, heads=2, feed_forward=64, vision_hidden=64, vision_layers=1)


class ThreeWeights(torch.nn.Module):
    """One weight that every process uses, one that only the last process uses, and one that none uses."""

    def __init__(self) -> None:
        super().__init__()
        self.common, self.last, self.unused = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))

    def forward(self, group: ProcessGroup) -> torch.Tensor:
        loss = (self.common * torch.tensor([1.0, 2.0]) * (group.rank + 1)).sum()
        if group.rank == group.world_size - 1:
            loss = loss + (self.last * torch.tensor([4.0, 8.0])).sum()
        return loss


def gradients(group: ProcessGroup) -> list[list[float] | None]:
    """Of the three weights, after one backward pass of all processes."""
    module = ThreeWeights()
    parallel = group.parallel(module)  # must live until the backward pass is done
    parallel(group).backward()
    return [None if weight.grad is None else weight.grad.tolist() for weight in module.parameters()]


def gradient_error(group: ProcessGroup, folder: Path, update: int) -> float:
    """How far the gradients of an update are from the mean of what the processes compute alone."""
    processor = make_processor(make_tokenizer(texts()), SIZE)
    modules = [PretrainingModel(make_model(processor.tokenizer, SIZE), SIZE) for _ in range(2)]
    modules[1].load_state_dict(modules[0].state_dict())
    recipe = RECIPE.per_process(group.world_size)
    data = PretrainingData(folder, recipe, Packer(processor), sides=(16, 8), group=group)
    batch = data.batch(next(data.scenes()), update)
    alone, parallel = modules[0], group.parallel(modules[1])
    for module in (alone, parallel):
        answers, dense = module(batch)
        (torch.nan_to_num(answers) + dense).backward()
    error = 0.0
    for own, shared in zip(modules[0].parameters(), modules[1].parameters(), strict=True):
        mean = torch.zeros_like(own) if own.grad is None else own.grad / group.world_size
        distributed.all_reduce(mean)
        if shared.grad is None:
            assert not mean.any()
        else:
            error = max(error, float((shared.grad - mean).abs().max()))
    return error


def main(folder: Path) -> None:
    """Train, then train again from the checkpoint of the first run; write what this process has in the end."""
    torch.set_num_threads(1)
    group = ProcessGroup.join()
    scenes, lines = folder / "scenes", []
    told = {
        "gradients": gradients(group),
        "errors": [gradient_error(group, scenes, update) for update in (0, RECIPE.total - 1)],
        "total": group.total(group.rank + 1),
    }

    def report(line: str) -> None:
        lines.append(int(line.split()[0]))
        if lines[-1] == RECIPE.total - 1 and not (folder / "resumed").exists():
            (folder / "resumed").mkdir()
            shutil.copy(folder / "base" / CHECKPOINT, folder / "resumed")

    for name in ("base", "resumed"):
        lines.clear()
        model = pretrain(scenes, folder / name, texts=list(texts()), recipe=RECIPE, size=SIZE, report=report)
        distributed.barrier()
        weights = b"".join(weight.detach().numpy().tobytes() for weight in model.parameters())
        told[name] = {"lines": list(lines), "weights": hashlib.sha256(weights).hexdigest()}
    (folder / f"{group.rank}.json").write_text(json.dumps(told), encoding="utf-8")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
