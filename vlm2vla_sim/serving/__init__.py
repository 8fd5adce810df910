"""Our policies on other people's wires, so that their harnesses can evaluate them without a line of new code.

A policy of ours says where to go, in words and in rows of any length; their harnesses want one control step of numbers
at a time, in their own convention, from a server they need not trust. `session.py` makes steps of decisions,
`server.py` is the server with its limits, `openpi.py` and `vla_eval.py` are the wires.
"""
