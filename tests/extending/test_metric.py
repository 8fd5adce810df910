"""A metric is one file outside the package."""

from __future__ import annotations

import json


def test_a_metric_appears_in_results_summary_and_table(page, run, tmp_path):
    [evaluate] = page("add_a_metric")
    done = run(*evaluate, "--image-size", "48", "64", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "LowestPoint" in done.stdout.splitlines()[0]
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    values = [line["metrics"]["LowestPoint"] for line in lines]
    assert len(values) == 4
    assert all(0 < value < 10 for value in values), "it went down to the carrot"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["overall"]["metrics"]["LowestPoint"]
    assert summary["n"] == 4
    assert summary["low"] <= summary["mean"] <= summary["high"]
