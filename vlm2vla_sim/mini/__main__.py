"""`python -m vlm2vla_sim.mini`: the steps by which the embedded model is made, each one command.

album      draw random scenes
base       teach the base model to see and to answer
lessons    write what the adapter learns, as rows for `vlm2vla train`
questions  write held-out questions, for `vlm2vla vqa`
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import tyro

Folder = Annotated[Path, tyro.conf.Positional]


def album(folder: Folder, *, first: int = 0, shards: int = 58, processes: int = 1) -> None:
    """Draw the shards FIRST .. FIRST + SHARDS - 1 of 1,000 scenes each; those that are there stay.

    Args:
        folder: The album.
        first: Number of the first shard; those from 900,000 on are for testing.
        shards: How many.
        processes: That draw side by side.
    """
    from vlm2vla_sim.mini.scenes.rendered_dataset import check_room, fill

    numbers = range(first, first + shards)
    check_room(folder, numbers)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for part in [pool.submit(fill, folder, numbers[k::processes]) for k in range(processes)]:
            part.result()


def base(folder: Folder, *, out: Path, looks: int | None = None, updates: int | None = None) -> None:
    """Train the base model on an album; a run that was stopped goes on.

    Several processes share the work when `torchrun --standalone --nproc-per-node 2 -m` starts them.

    Args:
        folder: The album.
        out: Folder for the model.
        looks: Updates of the vision tower alone; the recipe's number where none is given.
        updates: Updates with answers; the recipe's number where none is given.
    """
    from vlm2vla_sim.mini.model.model import MiniSize
    from vlm2vla_sim.mini.training.pretrain import pretrain
    from vlm2vla_sim.mini.training.recipe import Recipe
    from vlm2vla_sim.mini.training.vocabulary import texts

    given = {name: value for name, value in (("looks", looks), ("updates", updates)) if value is not None}
    report = partial(print, flush=True)
    pretrain(folder, out, texts=list(texts()), recipe=Recipe(**given), size=MiniSize(), report=report)


def lessons(
    folder: Folder,
    *,
    out: Path,
    first: int = 0,
    shards: int = 5,
    others: float = 1.0,
    rehearsed: float = 0.0,
    format: str = "vlm2vla",
    reasoning: bool = True,
    model: str = "",
) -> None:
    """Write rows for `vlm2vla train`.

    Args:
        folder: The album.
        out: Folder for the rows.
        first: Number of the first shard of the album to make rows of.
        shards: How many.
        others: Share of the lessons that are kept, other than the verifier's and the hard ones.
        rehearsed: Share of the scenes that come with questions of the base's own training.
        format: How actions are written.
        reasoning: With --no-reasoning, from the instruction straight to the action.
        model: The base model, whose least likely tokens the format "tokens" writes with.
    """
    from vlm2vla_sim.data.examples.folder import write_examples
    from vlm2vla_sim.language.formats import get_format
    from vlm2vla_sim.mini.training.expert_labels import examples
    from vlm2vla_sim.policies.models.rare_tokens import symbols_of

    symbols = symbols_of(model) if format == "tokens" else None
    action_format = get_format(format, symbols=symbols)
    numbers = list(range(first, first + shards))
    share = {"reasoning": reasoning, "others": others, "rehearsed": rehearsed}
    rows = examples(folder, numbers, action_format, **share, seed=first)  # type: ignore[arg-type]
    about = {"shards": numbers, "format": format, "symbols": symbols, **share}
    _tell(write_examples(rows, out, about))


def questions(folder: Folder, *, out: Path, shard: int = 900_000, views: int = 400, drawings: int = 200) -> None:
    """Write questions about scenes and drawings that training never saw.

    Args:
        folder: The album.
        out: Folder for the questions.
        shard: The album's shard, from 900,000 on.
        views: Scenes to ask about.
        drawings: Drawings to ask about.
    """
    from vlm2vla_sim.mini.training.held_out import write_exam

    _tell(write_exam(folder, out, shard=shard, views=views, drawn=drawings))


def _tell(what: object) -> None:
    sys.stdout.write(f"{what}\n")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"album": album, "base": base, "lessons": lessons, "questions": questions})
