"""Writers of training rows for TRL, LLaMA-Factory and OpenAI's fine-tuning API.

A writer is made with the folder to write to, takes rows, says why it cannot take one, and is closed. Images come before
the prompt, as the policies of this package send them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from vlm2vla_sim.data.datasets.lerobot_layout import parquet
from vlm2vla_sim.data.exports.row import ExportRow
from vlm2vla_sim.errors import SettingError


class RowWriter(Protocol):
    """Writes rows in one format."""

    files: str
    """Pattern of the files with rows, relative to the folder."""

    def add(self, row: ExportRow) -> str:
        """Write a row; the reason, if the format cannot hold it, else empty."""
        ...

    def close(self) -> None:
        """Finish the files; SettingError if the format takes no set like this one."""
        ...

    def abandon(self) -> None:
        """Close what is open; the files are worthless."""
        ...


MESSAGE = {"role": {"dtype": "string", "_type": "Value"}, "content": {"dtype": "string", "_type": "Value"}}


class TrlWriter:
    """Parquet files with the columns of a prompt-completion vision data set of TRL; the images are in them.

    TRL puts as many images before the text of the first user message as the row has (trl 1.16 data_utils.py
    prepare_multimodal_messages). `datasets` finds the types of the columns in the files.
    """

    files = "data/train-*.parquet"
    BATCH, FILE_BYTES = 256, 400_000_000

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        self._pq, self._folder = parquet(), folder / "data"
        self._folder.mkdir()
        image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        messages = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
        features = {
            "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
            "prompt": [MESSAGE],
            "completion": [MESSAGE],
            "stage": MESSAGE["role"],
        }
        columns = {"images": pa.list_(image), "prompt": messages, "completion": messages, "stage": pa.string()}
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        self._schema = pa.schema(columns).with_metadata(meta)
        self._held: list[dict[str, Any]] = []
        self._file: Any = None
        self._bytes, self._count = 0, 0

    def add(self, row: ExportRow) -> str:
        """See `RowWriter`."""
        self._held.append(
            {
                "images": [{"bytes": image.content, "path": Path(image.name).name} for image in row.images],
                "prompt": [{"role": "user", "content": row.prompt}],
                "completion": [{"role": "assistant", "content": row.completion}],
                "stage": row.stage,
            }
        )
        self._bytes += sum(len(image.content) for image in row.images)
        if len(self._held) >= self.BATCH:
            self._write()
        return ""

    def close(self) -> None:
        """See `RowWriter`."""
        if self._held:
            self._write()
        self.abandon()

    def abandon(self) -> None:
        """See `RowWriter`."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self) -> None:
        import pyarrow as pa

        if self._file is None:
            path = self._folder / f"train-{self._count:05d}.parquet"
            self._count += 1
            # Rows share images: a dictionary that holds a whole batch stores each of them once.
            self._file = self._pq.ParquetWriter(path, self._schema, dictionary_pagesize_limit=2**30)
        self._file.write_table(pa.Table.from_pylist(self._held, schema=self._schema))
        self._held = []
        if self._bytes >= self.FILE_BYTES:
            self.abandon()
            self._bytes = 0


class LlamaFactoryWriter:
    """ShareGPT messages with `<image>` tokens, the images as files, and the entry of `dataset_info.json`.

    hiyouga/LLaMA-Factory@ff6d4d12e data/README.md; src/llamafactory/data/converter.py SharegptDatasetConverter (paths
    relative to `media_dir`, by default the `dataset_dir`); mm_plugin.py _validate_messages (one token for each image).
    """

    files = "train.jsonl"
    NAME = "vlm2vla"
    TOKENS = ("<image>", "<video>", "<audio>")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = (folder / self.files).open("w", encoding="utf-8")

    def add(self, row: ExportRow) -> str:
        """See `RowWriter`."""
        if any(token in text for token in self.TOKENS for text in (row.prompt, row.completion)):
            return "a text that contains one of LLaMA-Factory's tokens <image>, <video>, <audio>"
        for image in row.images:
            path = self._folder / image.name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(image.content)
        messages = [
            {"role": "user", "content": "<image>" * len(row.images) + row.prompt},
            {"role": "assistant", "content": row.completion},
        ]
        line = {"messages": messages, "images": [image.name for image in row.images]}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return ""

    def close(self) -> None:
        """See `RowWriter`."""
        self.abandon()
        entry = {
            "file_name": self.files,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
        }
        text = json.dumps({self.NAME: entry}, indent=2)
        (self._folder / "dataset_info.json").write_text(text + "\n", encoding="utf-8")

    def abandon(self) -> None:
        """See `RowWriter`."""
        self._file.close()


class OpenAIWriter:
    """Chat messages with the images as data URLs, as OpenAI's fine-tuning API takes them, within its limits.

    developers.openai.com/api/docs/guides/vision-fine-tuning, "Image data requirements"; guides/supervised-fine-tuning,
    10 examples at least; api-reference/files, 512 MB. Azure takes the same files.
    """

    files = "train.jsonl"
    MOST_ROWS, LEAST_ROWS, MOST_IMAGES = 50_000, 10, 10
    IMAGE_BYTES, FILE_BYTES = 10_000_000, 512_000_000

    def __init__(self, folder: Path) -> None:
        self._file = (folder / self.files).open("wb")
        self._rows = self._bytes = 0

    def add(self, row: ExportRow) -> str:
        """See `RowWriter`."""
        if len(row.images) > self.MOST_IMAGES:
            return f"more than {self.MOST_IMAGES} images, OpenAI's limit"
        if any(len(image.content) > self.IMAGE_BYTES for image in row.images):
            return "an image of more than 10 MB, OpenAI's limit"
        urls = [f"data:{image.mime};base64,{base64.b64encode(image.content).decode()}" for image in row.images]
        parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        parts.append({"type": "text", "text": row.prompt})
        messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": row.completion}]
        line = json.dumps({"messages": messages}, ensure_ascii=False).encode() + b"\n"
        self._rows, self._bytes = self._rows + 1, self._bytes + len(line)
        if self._rows > self.MOST_ROWS or self._bytes > self.FILE_BYTES:
            raise SettingError(
                f"Row {self._rows} is more than a training file of OpenAI's API holds: {self.MOST_ROWS} rows with "
                f"images and {self.FILE_BYTES // 10**6} MB. Export fewer rows (--limit {self._rows - 1})."
            )
        self._file.write(line)
        return ""

    def close(self) -> None:
        """See `RowWriter`."""
        self.abandon()
        if self._rows < self.LEAST_ROWS:
            raise SettingError(
                f"There are {self._rows} rows; OpenAI's fine-tuning API takes {self.LEAST_ROWS} at least. Label more "
                "trajectories."
            )

    def abandon(self) -> None:
        """See `RowWriter`."""
        self._file.close()


FORMATS: dict[str, Callable[[Path], RowWriter]] = {
    "trl": TrlWriter,
    "llama-factory": LlamaFactoryWriter,
    "openai": OpenAIWriter,
}
"""By name, as in `vlm2vla export --for NAME`."""
