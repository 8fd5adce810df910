"""The data set card: a README.md whose front matter the Hugging Face Hub and `datasets.load_dataset` read.

Keys of the front matter: huggingface/huggingface_hub datasetcard_template.md; `configs`, huggingface.co/docs/hub,
"Manual configuration" of datasets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.atomic import write_text

CARD = "README.md"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Below this number of rows -> the Hub's size category."""


def write_card(folder: Path, front: Mapping[str, Any], title: str, body: Sequence[str]) -> None:
    """Write README.md. front: keys of the front matter, in this order; body: paragraphs of Markdown."""
    # JSON is YAML: a text with a colon or a leading dash needs no rule of its own.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()]
    text = "\n".join(["---", *lines, "---", "", f"# {title}", "", "\n\n".join(body), ""])
    write_text(folder / CARD, text)


def front_matter(
    name: str, *, rows: int, files: str, license_name: str, languages: Sequence[str], tags: Sequence[str]
) -> dict[str, Any]:
    """The front matter of a data set. files: pattern of the files of its only split, "train".

    license_name: an identifier of the Hub, such as "cc-by-4.0"; empty if nobody said, and the card names none.
    """
    size = next((name for limit, name in SIZES if rows < limit), "n>1M")
    return {
        "pretty_name": name,
        **({"license": license_name} if license_name else {}),
        "language": list(languages),
        "task_categories": ["robotics", "image-text-to-text"],
        "tags": list(tags),
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
    }


def table(head: tuple[str, str], rows: Mapping[str, Any]) -> str:
    """A Markdown table of two columns."""
    cells = [(str(key), str(value)) for key, value in rows.items()]
    lines = [f"| {a.replace('|', '&#124;')} | {b.replace('|', '&#124;')} |" for a, b in [head, *cells]]
    return "\n".join([lines[0], "|---|---|", *lines[1:]])
