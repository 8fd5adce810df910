"""The embedded model `mini`: rendered training scenes, model definition, training code and the shipped weights.

`mini` is a small vision-language model that is trained from scratch on rendered scenes, so that the package has a
policy that works from pixels without a download. Three folders make it, each importing only those before it:

- `scenes`: random scenes of the MuJoCo twin, rendered with ground-truth annotations.
- `model`: the Gemma 3 configuration, its tokenizer and its training checkpoints.
- `training`: questions and expert labels made from annotations, and the pretraining of the base model.

`python -m vlm2vla_sim.mini` runs each step; `docs/mini.md` describes them. The policy itself is
`vlm2vla_sim.policies.mini`.
"""
