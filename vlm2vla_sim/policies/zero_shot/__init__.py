"""A vision-language model that was never trained on robot actions, as a policy.

`loop` asks for one motion after the other, `overlay` draws coordinates on its pictures, `examples` shows it decisions
of another policy, and `image_check` makes sure that a server's model gets the pictures.
"""
