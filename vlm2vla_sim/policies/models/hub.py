"""Finds a model's files: a folder, or a name on the Hugging Face hub, which may be out of reach.

transformers asks the hub for one file after the other, each with several retries, so that a name takes minutes to fail
on a machine without a network. Here the hub is asked once, within `PROBE_SECONDS`; if it does not answer, what an
earlier download left in the cache is used, or the user is told.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.http_client import HttpClient, StatusError, TransientError

PROBE_SECONDS = 6.0
"""[s] the hub has to answer, name resolution included."""
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?", re.ASCII)
"""Such as google/gemma-3-12b-it."""


def locate(name: str, what: str = "model") -> str:
    """What `from_pretrained` is to be given for `name`.

    A folder stays as it is. A hub name stays as it is if the hub answers; else it becomes the folder of the cached
    download. SettingError for a name that is neither a folder nor a hub name, or that is needed from a hub that cannot
    be reached. HF_HUB_OFFLINE, HF_ENDPOINT and HF_HOME are respected.
    """
    if Path(name).is_dir():
        return name
    if not _HUB_NAME.fullmatch(name):
        raise SettingError(
            f"The {what} {name!r} is not a folder, and it cannot be a name on the hub. Give the path of a folder that "
            "save_pretrained wrote, or a name such as google/gemma-3-4b-it."
        )
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ModuleNotFoundError as error:
        raise missing_extra("A model in this process", error.name or "huggingface_hub", "vlm") from error
    offline = constants.HF_HUB_OFFLINE
    fault = "HF_HUB_OFFLINE is set" if offline else _hub_fault(constants.ENDPOINT, PROBE_SECONDS)
    if not fault:
        return name
    try:
        return huggingface_hub.snapshot_download(name, local_files_only=True)
    except (OSError, ValueError) as error:
        raise SettingError(
            f"The {what} {name!r} is not a folder here and not in the cache ({constants.HF_HUB_CACHE}), and the hub at "
            f"{constants.ENDPOINT} cannot be used: {fault}. Give the folder of a downloaded model, or download it on "
            f"a machine with a network (`hf download {name}`) and copy the cache."
        ) from error


def download(name: str, what: str, files: Sequence[str]) -> str:
    """The folder of `name`: itself, or its download from the hub, of which only `files` (patterns) are fetched.

    SettingError as `locate` raises it, or if the hub does not have it.
    """
    place = locate(name, what)
    if Path(place).is_dir():
        return place
    import huggingface_hub

    try:
        return huggingface_hub.snapshot_download(place, allow_patterns=list(files))
    except (OSError, ValueError) as error:
        raise SettingError(
            f"The {what} {name!r} cannot be downloaded: {str(error).strip().splitlines()[0]} Give the folder of a "
            "downloaded one, or a hub name whose licence you have accepted (`hf auth login`)."
        ) from error


def local_folder(name: str) -> Path | None:
    """The folder of what was loaded by `name`: itself, or its download in the hub's cache; None if there is neither."""
    if Path(name).is_dir():
        return Path(name)
    try:
        import huggingface_hub

        return Path(huggingface_hub.snapshot_download(name, local_files_only=True))
    except (ModuleNotFoundError, OSError, ValueError):
        return None


@functools.cache
def _hub_fault(endpoint: str, seconds: float) -> str:
    """Why the hub does not answer; empty if it does. Asked once in a process."""
    faults = [f"no answer within {seconds:g} s"]

    def probe() -> None:
        try:
            client = HttpClient(endpoint, timeout=seconds, max_bytes=2**20)
            client.get("api/models?limit=1")
        except TransientError as trouble:
            faults.append(str(trouble).rstrip("."))
        except StatusError:
            faults.append("")  # any answer will do
        else:
            faults.append("")

    # A thread of its own, because neither name resolution nor the addresses of a host tried in turn have a time limit.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    return faults[-1]
