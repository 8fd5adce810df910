"""Backend "simpler": the original SIMPLER scenes on ManiSkill 3 and SAPIEN 3, on a GPU or a CPU.

Published numbers are on these scenes. ManiSkill 3 includes them, with changes that affect scores; `scenes` restores the
original's rules. Or on the original SIMPLER itself, with SAPIEN 2 in an interpreter of its own (`original`).
"""
