"""Policies on servers: OpenVLA, ECoT, Octo, pi0 and others, through the wire protocols that their servers use.

These models are the baselines of the field, and each needs an environment of its own. Their servers differ in wire
protocol and in convention: rotation, gripper, image size, proprioception. An undeclared difference would show only as a
lower score of the other model.

`conventions.py` declares the conventions, `convert.py` converts actions and observations, `arrays.py` encodes arrays,
`openpi.py`, `openvla.py` and `vla_eval.py` are the clients of the wire protocols, `policy.py` makes policies of them.
"""
