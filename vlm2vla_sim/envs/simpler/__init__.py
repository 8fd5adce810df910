"""Backend "simpler": the true SIMPLER scenes, on ManiSkill 3 and SAPIEN 3, with a GPU or without.

Published numbers are on these scenes. ManiSkill 3 carries them but changed what a score depends on; `scenes` puts the
original's rules back, `backend` offers the result as every other backend does.
"""
