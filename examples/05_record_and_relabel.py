"""Record two demonstrations as a LeRobot folder, and describe them as text. Needs the extra `data`."""

from pathlib import Path

from vlm2vla_sim import RunSettings
from vlm2vla_sim.data.datasets.open import open_dataset, read_trajectories
from vlm2vla_sim.data.recording.record import record
from vlm2vla_sim.data.relabel.rules import relabel


def main() -> None:
    """Record, read back, relabel."""
    settings = RunSettings(policy="scripted", tasks=("stack_cube",), episodes=2, image_size=(240, 320))
    recorded = record(settings, Path("demos"))
    print(f"{recorded.episodes} episodes in {recorded.folder}")
    for trajectory in read_trajectories(open_dataset(Path("demos"))):
        print(f"\n{trajectory.name}: {trajectory.instruction}")
        for phase in relabel(trajectory).phases:
            print(f"  {phase.subtask} | {phase.plan} | {phase.chunk.text}")


if __name__ == "__main__":
    main()
