"""Accounts for every weight of an adapter: what fits the model, what has no place in it, and what is missing.

peft loads the keys that match and warns about the others, so that an adapter of other layer names is applied in part.
Here nothing is loaded unless the keys in the file are exactly the weights that adapter_config.json asks for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAME = "default"
"""peft's name of the one adapter that is loaded; a part of the name of each of its weights in the model."""
PREFIX = "base_model.model."
_SUFFIX = re.compile(r"\.lora_.*")
SHOWN = 3
"""Keys of a kind that a message lists."""


@dataclass(frozen=True)
class Fit:
    """How the weights of an adapter fit a model. Keys are as in the adapter's file, without `PREFIX`."""

    fitting: int
    """Number of weights that fit."""
    unplaced: tuple[str, ...] = ()
    """In the file, but not in the model."""
    missing: tuple[str, ...] = ()
    """Asked for by adapter_config.json, but not in the file."""
    misshapen: tuple[str, ...] = ()
    """Of another shape than in the model; each with both shapes."""
    replacing: tuple[str, ...] = ()
    """Weights of the model itself, which the file holds with other values."""
    unusable: tuple[str, ...] = ()
    """Not made of finite floating-point numbers."""
    repeated: int = 0
    """Number of keys in the file that name a weight another key names as well."""
    modules: tuple[str, ...] = ()
    """Names of the model's modules."""

    @property
    def complete(self) -> bool:
        """Whether everything fits."""
        wrong = (self.unplaced, self.missing, self.misshapen, self.replacing, self.unusable)
        return self.fitting > 0 and not any(wrong) and not self.repeated

    def text(self) -> str:
        """What fits and what does not, in sentences."""
        wrong = len(self.unplaced) + len(self.misshapen) + len(self.replacing) + len(self.unusable) + self.repeated
        parts = [f"{self.fitting} of the {self.fitting + wrong} weights in its file fit."]
        for what, keys in (
            ("In the file but not in the model", self.unplaced),
            ("Asked for by adapter_config.json but not in the file", self.missing),
            ("Of another shape", self.misshapen),
            ("Replacing weights of the model itself, which stays as it is", self.replacing),
            ("Not finite floating-point numbers", self.unusable),
        ):
            if keys:
                parts.append(f"{what}: {list_keys(keys)}.")
        if self.repeated:
            parts.append(f"Keys for a weight that has another key as well: {self.repeated}.")
        return " ".join([*parts, describe_renaming(self.unplaced, self.missing, self.modules)]).strip()


def compare(given: Mapping[str, Any], model: Any, *, in_file: int) -> Fit:
    """The fit of an adapter's weights to a `PeftModel`.

    given: the weights by the names that peft looks for in the model. in_file: how many weights the file holds.
    """
    import torch

    expected = {name for name, _ in model.named_parameters(remove_duplicate=False) if NAME in name.split(".")}
    present = model.state_dict()
    wrong: dict[str, list[str]] = {"misshapen": [], "replacing": [], "unusable": []}
    for name in sorted(given.keys() & present.keys()):
        value, place = given[name], present[name]
        if value.shape != place.shape:
            wrong["misshapen"].append(f"{_plain(name)} {_shape(value)}, not {_shape(place)}")
        elif name not in expected and not torch.equal(value.to(place.device, place.dtype), place):
            wrong["replacing"].append(_plain(name))
        elif not (value.is_floating_point() and bool(value.to(place.dtype).isfinite().all())):
            wrong["unusable"].append(_plain(name))
    expected |= _biases(model, present)
    refused = sum(map(len, wrong.values()))
    # peft merges the keys of a mixture of experts; their number says nothing.
    merged = bool(getattr(model.peft_config[NAME], "target_parameters", None))
    return Fit(
        fitting=len(given.keys() & present.keys()) - refused,
        unplaced=tuple(sorted(map(_plain, given.keys() - present.keys()))),
        missing=tuple(sorted(map(_plain, expected - given.keys()))),
        repeated=0 if merged else max(0, in_file - len(given)),
        modules=tuple(_plain(name).replace(".base_layer", "") for name, _ in model.named_modules()),
        **{kind: tuple(keys) for kind, keys in wrong.items()},
    )


def reaches_vision(model: Any) -> bool:
    """Whether an adapter on `model` also changes what is not the language model."""
    return any(NAME in name.split(".") and "language_model" not in name for name, _ in model.named_parameters())


def describe_renaming(unplaced: Sequence[str], missing: Sequence[str], modules: Iterable[str]) -> str:
    """A sentence about the likely renaming, empty where there is none. modules: the names of the model's modules."""
    renaming = likely_renaming(unplaced, missing) or likely_renaming(
        [_SUFFIX.sub("", key) for key in unplaced], modules
    )
    if renaming is None:
        return ""
    old, new, count = renaming
    return f"The file seems to call {old!r} what the model calls {new!r} ({count} keys)."


def likely_renaming(unplaced: Iterable[str], places: Iterable[str]) -> tuple[str, str, int] | None:
    """The change of name (old, new, number of keys) that gives most of `unplaced` one of `places`; None for none.

    >>> likely_renaming(["layers.0.feed_forward.up_proj.lora_A.weight"], {"layers.0.mlp.up_proj.lora_A.weight"})
    ('feed_forward', 'mlp', 1)
    """
    by_end: dict[tuple[str, ...], list[str]] = {}
    for key in places:
        by_end.setdefault(_end(key), []).append(key)
    found: Counter[tuple[str, str]] = Counter()
    keys = list(unplaced)
    for key in keys:
        changes = {_difference(key, other) for other in by_end.get(_end(key), ())}
        found.update(change for change in changes if change is not None)
    if not found:
        return None
    (old, new), count = min(found.items(), key=lambda item: (-item[1], len(item[0][0]) + len(item[0][1]), item[0]))
    return (old, new, count) if 2 * count >= len(keys) else None


def _difference(key: str, other: str) -> tuple[str, str] | None:
    """The parts in which two keys differ, as (old, new); None where they name different layers."""
    old, new, before = key.split("."), other.split("."), ""
    while old and new and old[0] == new[0]:
        before, old, new = old[0], old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    if any(part.isdigit() for part in (*old, *new)):
        return None
    if before and not (old and new):
        old, new = [before, *old], [before, *new]
    return (".".join(old), ".".join(new)) if old and new and old != new else None


def _end(key: str) -> tuple[str, ...]:
    """The numbers in a key, and the kind of weight ("lora_A"), which no renaming changes."""
    parts = key.split(".")
    return (*(part for part in parts if part.isdigit()), *(part for part in parts if part.startswith("lora_")))


def _biases(model: Any, present: Collection[str]) -> set[str]:
    """The biases of the model that an adapter with `bias` in its config was trained with, and that its file holds."""
    bias = getattr(model.peft_config[NAME], "bias", "none")
    ends = {"none": (), "all": ".bias"}.get(bias, ".base_layer.bias")
    return {name for name in present if ends and name.endswith(ends)}


def _plain(name: str) -> str:
    """A name in the model as a file has it: without the adapter's name and peft's prefix."""
    parts = [part for part in name.removeprefix(PREFIX).split(".") if part not in (NAME, "modules_to_save")]
    return ".".join(parts)


def list_keys(keys: Collection[str]) -> str:
    """The number of keys, and the first few of them.

    >>> list_keys(["a", "b", "c", "d"])
    '4 (a, b, c and 1 more)'
    """
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} ({', '.join(list(keys)[:SHOWN])}{more})"


def _shape(value: Any) -> str:
    return "x".join(map(str, value.shape)) or "a number"
