"""Control the arm with sentences: grasp the carrot of SIMPLER's first layout and lift it."""

import gymnasium as gym

from vlm2vla_sim import LanguageActions

SENTENCES = (
    "move forward 10 cm and left 11 cm, open gripper",
    "move down 11 cm, open gripper",
    "close gripper",
    "move up 8 cm, close gripper",
)


def main() -> None:
    """Say the sentences one by one."""
    env = LanguageActions(gym.make("vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0"), "prose")
    observation, info = env.reset(options={"episode_id": 0})
    print("The instruction of the task is:", info["instruction"])
    for sentence in SENTENCES:
        observation, _, _, _, info = env.step(sentence)
        x, y, z = 100 * observation["agent_pos"][:3]
        print(f"{sentence:50}  gripper at {x:5.1f}, {y:5.1f}, {z:5.1f} cm; grasped: {info['grasped']}")
    env.close()


if __name__ == "__main__":
    main()
