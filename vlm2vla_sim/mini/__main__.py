"""`python -m vlm2vla_sim.mini`: the steps by which the embedded model is made, one command each.

render     render random scenes
pretrain   pretrain the base model
labels     write the training rows of the adapter, for `vlm2vla train`
questions  write the questions of the held-out evaluation, for `vlm2vla vqa`
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlm2vla_sim.errors import Vlm2VlaError
from vlm2vla_sim.mini.training.recipe import PretrainingRecipe

Folder = Annotated[Path, tyro.conf.Positional]


def render(
    folder: Folder,
    *,
    first: int = 0,
    shards: int = 58,
    processes: int = 1,
    executor: Literal["local", "ray"] = "local",
    address: str = "",
) -> None:
    """Render shards of 1,000 scenes each. Shards that exist are kept.

    Args:
        folder: Folder of the rendered dataset.
        first: Number of the first shard; shards from 900,000 on are held out for evaluation.
        shards: Number of shards.
        processes: Number of processes.
        executor: "local" for processes of this machine, "ray" for actors of a Ray cluster.
        address: With ray: the cluster, "auto" or HOST:PORT; by default one is started on this machine.
    """
    from vlm2vla_sim.evaluation.executors.named import make_executor
    from vlm2vla_sim.mini.scenes.rendered_dataset import check_disk_space, render_shards

    numbers = range(first, first + shards)
    with closing(make_executor(executor, address)) as place:
        check_disk_space(folder, numbers)
        render_shards(folder, numbers, processes=processes, executor=place)


def pretrain(
    folder: Folder,
    *,
    out: Path,
    vision_updates: int = PretrainingRecipe.vision_updates,
    qa_updates: int = PretrainingRecipe.qa_updates,
    annealing_updates: int = PretrainingRecipe.annealing_updates,
) -> None:
    """Pretrain the base model on a rendered dataset. A stopped run is continued.

    Start it with `torchrun --standalone --nproc-per-node 2 -m` to train with several processes.

    Args:
        folder: Folder of the rendered dataset.
        out: Folder for the model.
        vision_updates: Updates of the vision tower alone.
        qa_updates: Updates with questions.
        annealing_updates: Updates of the last phase, with fewer images and more texts.
    """
    from vlm2vla_sim.mini.model.architecture import MiniSize
    from vlm2vla_sim.mini.training.pretrain import pretrain
    from vlm2vla_sim.mini.training.vocabulary import texts

    updates = {"vision_updates": vision_updates, "qa_updates": qa_updates, "annealing_updates": annealing_updates}
    recipe = PretrainingRecipe(**updates)
    pretrain(folder, out, texts=list(texts()), recipe=recipe, size=MiniSize(), report=_report)


def labels(
    folder: Folder,
    *,
    out: Path,
    first: int = 0,
    shards: int = 5,
    easy_share: float = 1.0,
    rehearsal_share: float = 0.0,
    format: str = "vlm2vla",
    reasoning: bool = True,
    model: str = "",
) -> None:
    """Write expert labels as training rows for `vlm2vla train`.

    Args:
        folder: Folder of the rendered dataset.
        out: Folder for the rows.
        first: Number of the first shard.
        shards: Number of shards.
        easy_share: Share of the labels to keep, except the verifier's and the hard ones, which are all kept.
        rehearsal_share: Share of the scenes that also get questions of the base's pretraining.
        format: Action format.
        reasoning: With --no-reasoning, labels go from the instruction straight to the action.
        model: Base model whose least likely tokens the format "tokens" uses.
    """
    from vlm2vla_sim.data.examples.folder import write_examples
    from vlm2vla_sim.language.formats import get_format
    from vlm2vla_sim.mini.training.adapter_examples import adapter_examples
    from vlm2vla_sim.policies.models.action_symbols import symbols_of

    symbols = symbols_of(model) if format == "tokens" else None
    action_format = get_format(format, symbols=symbols)
    numbers = list(range(first, first + shards))
    rows = adapter_examples(
        folder,
        numbers,
        action_format,
        reasoning=reasoning,
        easy_share=easy_share,
        rehearsal_share=rehearsal_share,
        seed=first,
    )
    shares = {"easy_share": easy_share, "rehearsal_share": rehearsal_share}
    about = {"shards": numbers, "format": format, "symbols": symbols, "reasoning": reasoning, **shares}
    _report(write_examples(rows, out, about))


def questions(folder: Folder, *, out: Path, shard: int = 900_000, scenes: int = 400, shapes: int = 200) -> None:
    """Write the questions of the held-out evaluation.

    Args:
        folder: Folder of the rendered dataset.
        out: Folder for the questions.
        shard: Number of a held-out shard, from 900,000 on.
        scenes: Number of scenes to ask about.
        shapes: Number of images of synthetic shapes to ask about.
    """
    from vlm2vla_sim.mini.training.held_out import write_held_out_questions

    _report(write_held_out_questions(folder, out, shard=shard, scenes=scenes, shapes=shapes))


def _report(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


COMMANDS = {"render": render, "pretrain": pretrain, "labels": labels, "questions": questions}
OLD_COMMANDS = {"album": "render", "base": "pretrain", "lessons": "labels"}
OLD_FLAGS = {
    "--looks": "--vision-updates",
    "--updates": "--qa-updates",
    "--others": "--easy-share",
    "--rehearsed": "--rehearsal-share",
    "--views": "--scenes",
    "--drawings": "--shapes",
}


def renamed(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the names of today; a notice on stderr for each old one."""
    current = list(arguments)
    for index, word in enumerate(current):
        name, equals, value = word.partition("=")
        new = OLD_COMMANDS.get(word) if index == 0 else OLD_FLAGS.get(name)
        if new is not None:
            sys.stderr.write(f"{name} is now called {new}.\n")
            current[index] = new + equals + value
    return current


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 2 after an error that the package raises on purpose."""
    given = renamed(sys.argv[1:] if arguments is None else arguments)
    try:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m vlm2vla_sim.mini", args=given)
    except Vlm2VlaError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
