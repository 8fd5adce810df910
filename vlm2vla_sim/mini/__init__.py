"""The embedded model: a small vision-language model made here, world, lessons and weights, by one command each.

A package whose only working policy is told where everything is would be a toy. This one sees pixels and speaks.
"""
