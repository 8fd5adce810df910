"""Serves this package's policies over the wire protocols of other evaluation harnesses, and models as a chat server.

A policy returns a decision: text, and rows of any length. A harness asks for control steps, in its own convention.
`action_stream.py` turns decisions into control steps, `server.py` is the websocket server with its limits, and
`http_server.py` the HTTP server, which checks requests in `http_gate.py`; `http_access.py` says who may use a server,
and `http_key.py` reads its key. `openpi.py`, `vla_eval.py` and `act.py` are the wire protocols, `protocols.py` finds
them by name. `model_server.py` is the chat server, and `chat_request.py`, `chat_values.py` and `chat_images.py` read
its requests, or refuse them (`refusal.py`). `watch/` is the operator's page.
"""
