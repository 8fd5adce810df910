"""`vlm2vla assets`: SIMPLER's meshes and photos, which the backend "simpler" needs and this package may not ship."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.envs.simpler import assets as simpler_assets
from vlm2vla_sim.errors import SettingError


def assets(
    action: Annotated[Literal["status", "download", "link"], tyro.conf.Positional] = "status",
    directory: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DIR]")] = None,
    *,
    to: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    json: bool = False,
) -> CommandResult:
    """Say which of SIMPLER's assets are there, download them, or link them from a folder you have.

    The folder in use is VLM2VLA_ASSETS, else MS_ASSET_DIR, else ~/.maniskill. The exit status is 1 when something is
    still missing.

    Args:
        action: "status" says what is there and what is missing; "download" fetches what is missing with ManiSkill's own
            downloader; "link" lays out what is in DIR.
        directory: For link: a ManiSkill asset folder, or a ManiSkill2_real2sim checkout or its data folder.
        to: The folder to fill or to look at, in place of the one in use.
        json: Print JSON.
    """
    if (action == "link") != (directory is not None):
        raise SettingError("`vlm2vla assets link DIR` takes a folder; status and download take none.")
    root = simpler_assets.folder() if to is None else to.expanduser().resolve()
    done: list[str] = []
    if action == "link" and directory is not None:
        done = simpler_assets.link(directory, root)
    elif action == "download":
        done = simpler_assets.download(root)
    inventory = simpler_assets.inspect(root)
    lines = [*done, *inventory.lines()]
    if to is not None and root != simpler_assets.folder():
        lines.append(f"To use this folder: export {simpler_assets.VARIABLES[0]}={root}")
    values = {"folder": str(root), "done": done, "missing": inventory.missing, "made": inventory.made}
    return CommandResult("\n".join(lines), values, json, code=1 if inventory.missing else 0)
