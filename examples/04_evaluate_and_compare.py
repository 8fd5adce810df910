"""Evaluate two policies on the same layouts and compare their success rates.

The second is the scripted policy with 4 cm of noise on where it believes the objects to be. With three episodes the
intervals are wide; SIMPLER's grid has 24.
"""

from vlm2vla_sim import RunSettings, run_suite

EPISODES = 3


def main() -> None:
    """Run both and print one line each."""
    for name, noise_cm in (("exact", 0.0), ("noisy", 4.0)):
        settings = RunSettings(
            policy="scripted", noise_cm=noise_cm, tasks=("carrot_on_plate",), episodes=EPISODES, image_size=None
        )
        run = run_suite(settings, out=f"runs/{name}", video=False)
        overall = run.summary.overall
        print(f"{name}: {overall.success_at_end} at the last step, grasped {overall.grasped.k}/{overall.n}")


if __name__ == "__main__":
    main()
