"""`vlm2vla logprob`: how likely a base model finds the same motion in every format."""

from __future__ import annotations

import dataclasses
import json as json_module
from pathlib import Path

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.errors import RunFolderError


def logprob(
    *,
    model: str,
    episodes: int = 6,
    data: str = "",
    formats: tuple[str, ...] = (),
    contexts: tuple[str, ...] = ("rules", "task", "nothing"),
    seed: int = 0,
    dtype: str = "auto",
    out: str = "",
    json: bool = False,
) -> CommandResult:
    """Score actions under a model, per token and per action, with intervals over whole episodes.

    The actions are those of the scripted policy on random layouts, without physics, or of a relabelled data set. Any
    language model of transformers will do; one with eyes is shown the data set's pictures, or a grey one.

    Args:
        model: A folder, or a name on the hub.
        episodes: Episodes of each task that actions are taken from.
        data: A relabelled data set to take them from instead.
        formats: Formats to write them in; all by default.
        contexts: What stands before an action: rules (our whole prompt), task (one line), nothing.
        seed: Of layouts and intervals.
        dtype: As torch calls it, or "auto" for what the weights are stored in.
        out: Folder for logprob.json, actions.jsonl and a picture of the densities for each context.
        json: Print JSON.
    """
    from vlm2vla_sim.analysis.logprob import labelled_actions, score_formats, scripted_actions, summarise, to_json
    from vlm2vla_sim.analysis.scorer import Scorer

    if out and Path(out).exists():
        raise RunFolderError(f"{out} is there already; choose another folder (--out DIR).")
    if data:
        from vlm2vla_sim.data.relabel.labels import read_labels

        spoken = list(labelled_actions(read_labels(Path(data))))
    else:
        spoken = list(scripted_actions(episodes, seed=seed))
    scored = score_formats(Scorer(model, dtype=dtype), spoken, formats=formats, contexts=contexts)
    scores = summarise(scored, seed=seed)
    values = {"model": model, "actions": len(spoken), "scores": to_json(scores)}
    if out:
        from vlm2vla_sim.analysis.density import draw_densities
        from vlm2vla_sim.core.versions import collect_versions
        from vlm2vla_sim.language.prompts import prompts_hash

        folder = Path(out)
        folder.mkdir(parents=True)
        saved = {**values, "versions": collect_versions(prompts=prompts_hash())}
        (folder / "logprob.json").write_text(json_module.dumps(saved, indent=2) + "\n", encoding="utf-8")
        with (folder / "actions.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json_module.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n" for one in scored)
        for context in contexts:
            groups = {
                name: [one.total / one.tokens for one in scored if (one.format, one.context) == (name, context)]
                for name in dict.fromkeys(one.format for one in scored)
            }
            title = f"{Path(model).name}, before any training; context: {context}"
            draw_densities(groups, folder / f"density_{context}.png", title=title, axis="nats per token")
    rows = [["format", "context", "tokens", "per token [nats]", "per action [nats]"]]
    rows += [
        [one.format, one.context, f"{one.tokens:.1f}", one.per_token.text(), one.per_action.text(1)] for one in scores
    ]
    text = f"{len(spoken)} actions under {model}; 95 % intervals over whole episodes\n\n{columns(rows)}"
    return CommandResult(text, values, json)
