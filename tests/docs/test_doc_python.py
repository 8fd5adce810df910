"""Every Python block in the README and the documentation compiles, and runs unless a comment says why it cannot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from doc_pages import CONTINUES, ROOT, Block, all_blocks, write_files


def programs() -> list[Block]:
    """The Python blocks; one that continues the block above is joined to it."""
    found: list[Block] = []
    for block in all_blocks("python"):
        if block.text.startswith(CONTINUES):
            above = found.pop()
            assert above.page == block.page, block.where
            found.append(
                Block(above.page, above.line, "python", f"{above.text}\n{block.text}", above.mark, above.reason)
            )
        else:
            found.append(block)
    return found


PROGRAMS = programs()


def test_blocks_are_found_and_only_those_with_a_reason_are_not_run():
    assert len(PROGRAMS) > 6
    assert {block.mark for block in PROGRAMS} <= {"", "not run", "file"}
    assert all(block.reason for block in PROGRAMS if block.mark)


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.where)
def test_every_block_compiles(block):
    compile(block.text, block.where, "exec")


@pytest.mark.parametrize("block", [b for b in PROGRAMS if not b.mark], ids=lambda block: block.where)
def test_every_block_runs(block, tmp_path):
    write_files(block.page, tmp_path)
    script = tmp_path / "block.py"
    script.write_text(block.text, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error::DeprecationWarning:__main__",
    }
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{block.where}\n{done.stderr[-3000:]}"
