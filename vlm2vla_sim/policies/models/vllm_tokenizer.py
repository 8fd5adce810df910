"""The tokens that vLLM's code for Gemma 3 looks up: runs of two to four newlines.

It puts two newlines around the tokens of an image and joins them with those beside them, as Gemma's tokenizer does. A
tokenizer that has no such tokens writes single newlines. With tokens for the runs that its merges never make, it still
does, and nothing is joined: the tokens of every text stay the same. vllm@0.32.0 model_executor/models/gemma3_mm.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.models.digests import read_object

TOKENIZER = "tokenizer.json"
RUNS = ("\n\n", "\n\n\n", "\n\n\n\n")


def missing_newlines(folder: Path) -> tuple[str, ...]:
    """Which of `RUNS` are no tokens of the tokenizer in `folder`; SettingError where they cannot be added."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise SettingError(f"{folder} has no {TOKENIZER}, which vLLM reads. Save the tokenizer with save_pretrained.")
    described = read_object(path)
    known = _vocabulary(described) | {token["content"]: token["id"] for token in described.get("added_tokens") or ()}
    if "\n" not in known:
        raise SettingError(
            f"The tokenizer in {folder} has no token for a newline, which vLLM's code for Gemma 3 looks up. Serve this "
            "model with `vlm2vla serve-model`."
        )
    missing = tuple(run for run in RUNS if run not in known)
    model = described["model"]
    if missing and (model.get("type") != "BPE" or model.get("ignore_merges")):
        raise SettingError(
            f"The tokenizer in {folder} has no token for {len(missing[0])} newlines, which vLLM's code for Gemma 3 "
            f"looks up. It is a {model.get('type')} tokenizer, for which a new token would change how texts are split. "
            "Serve this model with `vlm2vla serve-model`."
        )
    return missing


def with_newlines(source: Path, target: Path, missing: tuple[str, ...], *, rows: int) -> None:
    """Write the tokenizer `source` to `target` with the tokens `missing`, which no merge makes.

    rows: of the model's embedding; SettingError where it has none left for them.
    """
    described = read_object(source)
    vocabulary = _vocabulary(described)
    taken = [*vocabulary.values(), *(token["id"] for token in described.get("added_tokens") or ())]
    first = max(taken) + 1
    if first + len(missing) > rows:
        raise SettingError(
            f"The tokenizer {source} has {first} tokens and lacks {len(missing)} that vLLM's code for Gemma 3 looks "
            f"up; the model's embedding has {rows} rows, so that there is no room for them. Serve this model with "
            "`vlm2vla serve-model`."
        )
    vocabulary.update({token: first + number for number, token in enumerate(missing)})
    target.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _vocabulary(described: dict[str, Any]) -> dict[str, int]:
    """Token -> id, the map in `described` itself; of a tokenizer of another kind, a copy."""
    vocabulary = (described.get("model") or {}).get("vocab")
    if isinstance(vocabulary, dict):
        return vocabulary
    return {entry[0]: number for number, entry in enumerate(vocabulary or ())}
