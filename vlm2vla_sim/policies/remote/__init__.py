"""Policies on servers: OpenVLA, ECoT, Octo, pi0, X-VLA, GR00T and others, through the wire protocols of their servers.

These models are the baselines of the field, and each needs an environment of its own. Their servers differ in wire
protocol and in convention: rotation, gripper, image size, proprioception. An undeclared difference would show only as a
lower score of the other model.

`conventions/` declares the conventions, `convert.py` converts actions, `observations.py` and `images.py` what is sent,
`arrays.py` encodes arrays. `openpi.py`, `openvla.py`, `vla_eval.py` and `groot.py` are the clients of the wire
protocols; `policy.py` asks them, with `steps.py` for what is kept from step to step, and `factories.py` makes policies
of options.
"""
