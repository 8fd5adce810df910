"""`vlm2vla serve`: a policy for other evaluation harnesses, over openpi's wire protocol, vla-eval's or your own."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.flags import read_options
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.policy_spec import find_format
from vlm2vla_sim.policies import PolicyContext, check_policy, load_policy, needs_truth
from vlm2vla_sim.policies.base import close_policy
from vlm2vla_sim.policies.remote.conventions import find_convention
from vlm2vla_sim.serving.protocols import find_protocol
from vlm2vla_sim.serving.server import Dispatcher, Limits, PolicyServer


def serve(
    *,
    policy: str = "vlm",
    model: str = "",
    adapter: str = "",
    server: str = "",
    policy_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = (),
    format: str = "vlm2vla",
    wire: str = "openpi",
    convention: str = "vlm2vla",
    host: str = "127.0.0.1",
    port: int = 8000,
    expose: bool = False,
    rows: Annotated[int, tyro.conf.arg(metavar="STEPS")] = -1,
    connections: int = Limits.connections,
    message_mib: int = Limits.message // 2**20,
    idle: float = Limits.idle,
    json: bool = False,
) -> CommandResult:
    """Offer a policy to other people's harnesses, over openpi's websocket or vla-eval's.

    Every client has an episode of its own. Prints the address once it answers. Stops when nobody has asked for --idle
    seconds, at Ctrl-C, or when told to terminate. A policy that needs the simulator's truth cannot be served.

    Args:
        policy: A policy by name (vlm, hold, random), or your own as package.module:factory.
        model: With the policy vlm, the model: a folder, or a name such as google/gemma-3-12b-it.
        adapter: With the policy vlm, its LoRA adapter: a folder or a name.
        server: With the policy vlm, the OpenAI-style server that has the model.
        policy_options: What else only this policy takes, for example sampling=greedy with vlm.
        format: How the policy writes its actions: vlm2vla, prose, integers, ...
        wire: The wire protocol: openpi or vla-eval, or your own as package.module:NAME (a ServerProtocol).
        convention: The client's convention, for example pi0-bridge or simpler; vlm2vla for this package's own; your own
            as package.module:NAME.
        host: Address to listen on; other than loopback needs --expose.
        port: Port to listen on; 0 takes a free one.
        expose: Let others on the network ask, without a key.
        rows: Control steps in a response, 0 for all of a decision; by default 0 with openpi, 1 with vla-eval.
        connections: Clients at the same time at most.
        message_mib: Size of a message at most, in MiB.
        idle: Seconds without a question after which a client is left, and the server stops.
        json: Print JSON, one line once it answers and one when it stops.
    """
    protocol = find_protocol(wire)
    if needs_truth(policy):
        raise SettingError(f"The policy {policy!r} looks into the simulator, which here is the client's own. Use vlm.")
    named = {"model": model, "adapter": adapter, "server": server}
    options = {
        **read_options(policy_options, of="policy", example="sampling=greedy"),
        **{name: text for name, text in named.items() if text},
    }
    check_policy(policy, options)
    limits = Limits(message_mib * 2**20, connections, idle, protocol.rows if rows == -1 else rows)
    context = PolicyContext(task="", steps=0, action_format=find_format(format, options), options=options)
    # A model that cannot be loaded is told now, not to the first client.
    close_policy(load_policy(policy, context))
    dispatcher = Dispatcher(
        lambda: load_policy(policy, context), find_convention(protocol.wire or wire, convention), limits
    )
    told = _stop_signals()
    with PolicyServer(protocol.handle, dispatcher, host=host, port=port, expose=expose) as offered:
        values = {"serving": policy, "wire": wire, "convention": convention, "url": offered.url}
        _say(CommandResult(f"Serving {policy} over {wire} ({convention}) at {offered.url}", values, json))
        why = "told to" if offered.wait(told) else f"nobody asked for {idle:g} s"
        if not offered.stop():
            _say(CommandResult(f"Stopped: {why}, in the middle of a decision.", {"stopped": why}, json))
            os._exit(0)  # a model that is thinking cannot be interrupted, and holds the process
    return CommandResult(f"Stopped: {why}.", {"stopped": why}, json)


def _stop_signals() -> threading.Event:
    """Set at Ctrl-C or when the process is told to terminate."""
    told = threading.Event()

    def tell(number: int, frame: Any) -> None:
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, tell)
    return told


def _say(answer: CommandResult) -> None:
    sys.stdout.write(f"{answer.printed()}\n")
    sys.stdout.flush()
