"""`vlm2vla assets`: SIMPLER's meshes and photos, which the backend "simpler" needs and this package lacks."""

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
    """Check whether SIMPLER's assets are installed, download them, or link them from a folder you already have.

    They are looked for in VLM2VLA_ASSETS, else MS_ASSET_DIR, else ~/.maniskill. The exit status is 1 if any are
    missing afterwards.

    Args:
        action: "status" lists what is present and missing; "download" fetches what is missing with ManiSkill's
            downloader; "link" creates links to the files in DIR.
        directory: For link: a ManiSkill asset folder, or a ManiSkill2_real2sim checkout or its data folder.
        to: Check or fill this folder instead of the default one.
        json: Print JSON.
    """
    if (action == "link") != (directory is not None):
        raise SettingError(
            f"`vlm2vla assets {action}` was given "
            f"{'no folder' if directory is None else f'the folder {directory}'}; expected `vlm2vla assets link DIR`, "
            "or status or download without a folder (use --to FOLDER to choose one)."
        )
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
