"""The figures of `benchmarks/throughput.py`: what is measured, compared and unknown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vlm2vla_sim import RunSettings

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def throughput(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import throughput

    return throughput


def row(concurrency: int, seconds: float | None, **reasons: str) -> dict[str, object]:
    return {"concurrency": concurrency, "seconds": seconds, "reasons": reasons}


def test_a_run_is_measured(throughput):
    settings = RunSettings(policy="hold", backend="point", episodes=1)
    made = throughput.measure(settings, 1, video=False)
    assert made.keys() == set(throughput.FIGURES)
    assert (made["success"]["k"], made["success"]["n"]) == (0, 4)
    assert made["worker_mib"] is None
    assert made["main_mib"] > 20
    assert made["peak_mib"] > 20 if sys.platform == "linux" else made["peak_mib"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory that processes share")
def test_the_memory_of_processes_below_is_counted(throughput):
    """A child that holds 120 MiB of its own."""
    program = "import time; held = bytearray(b'x' * (120 << 20)); print('held', flush=True); time.sleep(30)"
    with throughput.PeakMemory() as alone:
        pass
    with throughput.PeakMemory() as peak:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        for process in throughput._family(child.pid):
            assert throughput._shared_size(process) > 120 << 10
    child.kill()
    child.communicate()
    assert peak.mib - alone.mib > 100


def test_speed_up_and_efficiency_are_relative_to_the_first_row(throughput):
    first = throughput.compare(row(1, 60.0), [])
    assert (first["speed_up"], first["efficiency"]) == (1.0, 1.0)
    later = throughput.compare(row(4, 20.0), [first])
    assert (later["speed_up"], later["efficiency"]) == (3.0, 0.75)


def test_a_row_that_could_not_be_measured_has_a_reason_for_every_figure(throughput):
    """`nowhere` is no backend."""
    made = throughput.compare(throughput.run_row("scripted", "nowhere", "off", 1, 1), [])
    unknown = {name for name, value in made.items() if value is None}
    assert unknown == made["reasons"].keys() == {*throughput.FIGURES, "speed_up", "efficiency"}
    assert "No backend named 'nowhere'" in made["reasons"]["seconds"]
    assert "No backend named 'nowhere'" in throughput.describe(made)
    after = throughput.compare(row(2, 30.0), [made])
    assert after["speed_up"] is None
    assert "nowhere" in after["reasons"]["efficiency"]
