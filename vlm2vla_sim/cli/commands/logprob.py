"""`vlm2vla logprob`: how likely a base model finds the same motion in every action format."""

from __future__ import annotations

import dataclasses
import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.data.relabel.labels import read_labels, read_settings
from vlm2vla_sim.errors import RunFolderError, SettingError

if TYPE_CHECKING:
    from vlm2vla_sim.analysis.logprob import ScoredAction


def logprob(
    *,
    model: str,
    episodes: int | None = None,
    data: str = "",
    formats: tuple[str, ...] = (),
    contexts: tuple[str, ...] = ("rules", "task", "nothing"),
    seed: int = 0,
    dtype: str = "auto",
    out: str = "",
    plots: bool = True,
    json: bool = False,
) -> CommandResult:
    """Log-probabilities of the same actions in every format under a model, with 95 % intervals over episodes.

    The actions come from the scripted policy on random layouts, without physics, or from a relabelled data set. Any
    causal language model of transformers works; a model with a vision encoder gets the data set's images, or a grey
    one.

    Args:
        model: A folder, or a name on the hub.
        episodes: Episodes of each task to take actions from, 6 by default; not with --data.
        data: A relabelled data set to take actions from instead.
        formats: Action formats to compare; all by default.
        contexts: Prompts before the action: rules (the full prompt), task (one line), nothing.
        seed: Seed for layouts and intervals.
        dtype: A torch dtype, or "auto" for the one the weights are stored in.
        out: Folder for logprob.json, actions.jsonl and a density plot for each context.
        plots: With --no-plots, no density plots, which need matplotlib.
        json: Print JSON.
    """
    from vlm2vla_sim.analysis.density import figure_class

    if data and episodes is not None:
        raise SettingError(f"episodes is {episodes}, but all actions of {data} are scored. Leave --episodes out.")
    if out:
        check_path(Path(out), RunFolderError)
    if out and Path(out).exists():
        raise RunFolderError(f"{out} exists already. Choose another folder (--out DIR).")
    if out and plots:
        figure_class()  # fail before the model is loaded
    if data:
        read_settings(Path(data))  # likewise
    from vlm2vla_sim.policies.models.hub import locate

    locate(model)  # before torch is imported, so that an unreachable hub is reported within seconds
    from vlm2vla_sim.analysis.logprob import labelled_actions, score_formats, scripted_actions, summarise, to_json
    from vlm2vla_sim.analysis.scorer import Scorer

    if data:
        actions = list(labelled_actions(read_labels(Path(data))))
    else:
        actions = list(scripted_actions(6 if episodes is None else episodes, seed=seed))
    scorer = Scorer(model, dtype=dtype)
    scored = score_formats(scorer, actions, formats=formats, contexts=contexts)
    scores = summarise(scored, seed=seed)
    values = {"model": model, "actions": len(actions), "scores": to_json(scores), "provenance": scorer.provenance()}
    if out:
        _write(Path(out), values, scored)
        if plots:
            _plot(Path(out), Path(model).name, contexts, scored)
    rows = [["format", "context", "tokens", "per token [nats]", "per action [nats]"]]
    rows += [
        [one.format, one.context, f"{one.tokens:.1f}", one.per_token.text(), one.per_action.text(1)] for one in scores
    ]
    source = f"{len(actions)} actions of {len({one.episode for one in actions})} episodes"
    text = f"{source} under {model}; mean and 95 % interval over episodes\n\n{columns(rows)}"
    return CommandResult(text, values, json)


def _write(folder: Path, values: dict[str, object], scored: Sequence[ScoredAction]) -> None:
    """Write logprob.json and actions.jsonl."""
    from vlm2vla_sim.core.versions import collect_versions
    from vlm2vla_sim.language.prompts import prompts_hash

    folder.mkdir(parents=True)
    saved = {**values, "versions": collect_versions(prompts=prompts_hash())}
    (folder / "logprob.json").write_text(json_module.dumps(saved, indent=2) + "\n", encoding="utf-8")
    with (folder / "actions.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json_module.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n" for one in scored)


def _plot(folder: Path, model: str, contexts: Sequence[str], scored: Sequence[ScoredAction]) -> None:
    """Write a density plot for each context."""
    from vlm2vla_sim.analysis.density import plot_densities

    for context in contexts:
        groups = {
            name: [one.total / one.tokens for one in scored if (one.format, one.context) == (name, context)]
            for name in dict.fromkeys(one.format for one in scored)
        }
        title = f"{model}, before training; context: {context}"
        plot_densities(groups, folder / f"density_{context}.png", title=title, label="log-probability per token [nats]")
