"""Run one episode with the scripted policy, print its text, and write a video to the folder `videos`."""

import gymnasium as gym

from vlm2vla_sim import run_episode


def main() -> None:
    """Run it."""
    env = gym.make("vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0")
    result = run_episode(env, "scripted", episode_id=0, videos="videos")
    for decision in result.decisions:
        print(f"step {decision['step']:>2}  {decision['subtask']} | {decision['plan']} | {decision['action']}")
    print(
        f"{result.outcome}: first solved at step {result.first_success_step} of {result.steps}. Video: {result.video}"
    )
    env.close()


if __name__ == "__main__":
    main()
