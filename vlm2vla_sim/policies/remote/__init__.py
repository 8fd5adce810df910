"""Policies that live on other people's servers: three wires, and for each the conventions of the models behind it.

OpenVLA, ECoT, Octo, pi0 and others are the baselines of this field, and none of them can be installed beside the next.
Each answers over a wire of its own, with rotations, grippers and pictures of its own. What is not declared here would
be found as a lower score of somebody else's model.

`conventions.py` declares them, `convert.py` converts, `arrays.py` packs and unpacks, `openpi.py`, `openvla.py` and
`vla_eval.py` are the wires, `policy.py` makes policies of them.
"""
