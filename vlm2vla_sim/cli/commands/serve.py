"""`vlm2vla serve`: a policy for other evaluation harnesses, over a wire protocol that they speak."""

from __future__ import annotations

from typing import Annotated

import tyro

from vlm2vla_sim.cli.flags import PolicyFlags
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.cli.serving import check_key, serve_until_stopped
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.setup import find_format
from vlm2vla_sim.language.translations import ENGLISH
from vlm2vla_sim.policies import PolicyContext, check_policy, load_policy, needs_truth
from vlm2vla_sim.policies.base import close_policy
from vlm2vla_sim.policies.remote.conventions import find_convention
from vlm2vla_sim.serving.protocols import find_protocol
from vlm2vla_sim.serving.server import Dispatcher, Limits


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
    key: str = "",
    no_key: bool = False,
    allow_host: tuple[str, ...] = (),
    rows: Annotated[int, tyro.conf.arg(metavar="STEPS")] = -1,
    connections: int = Limits.connections,
    message_mib: int = Limits.message // 2**20,
    idle: float = Limits.idle,
    json: bool = False,
) -> CommandResult:
    """Serve a policy to other evaluation harnesses: over openpi's protocol, vla-eval's, POST /act or your own.

    Every client has an episode of its own. Prints the address when it is ready. Stops after --idle seconds
    without a request, at Ctrl-C, or on SIGTERM. A policy that reads the simulator's ground truth is refused.

    Args:
        policy: A policy by name (vlm, mini, hold, random), your own as package.module:NAME, or a .toml or .yaml file.
        model: With the policy vlm, the model: a folder, or a name such as google/gemma-3-12b-it.
        adapter: With the policy vlm, its LoRA adapter: a folder or a name.
        server: With the policy vlm, the address of an OpenAI-compatible server that has the model.
        policy_options: Options of this policy only, for example sampling=greedy with vlm.
        format: The action format: vlm2vla, prose, integers, tokens, or your own as package.module:NAME.
        wire: The wire protocol: openpi, vla-eval, act (POST /act, as OpenVLA and AutoEval send it), or your own as
            package.module:NAME (a ServerProtocol).
        convention: The client's convention, for example pi0-bridge or simpler; autoeval with act; vlm2vla for this
            package's own; your own as package.module:NAME.
        host: Address to listen on; other than loopback needs --expose.
        port: Port to listen on; 0 takes a free one.
        expose: Accept requests from the network; needs --key or --no-key.
        key: A secret that each client has to bring, as "Authorization: Bearer KEY" or "Api-Key KEY".
        no_key: Let everybody on the network use the server.
        allow_host: A further name by which clients reach this server, such as that of a tunnel.
        rows: Control steps in a response, 0 for all of a decision; by default 0 with openpi, 1 with vla-eval and act.
        connections: Largest number of clients at the same time.
        message_mib: Size limit of a message, in MiB.
        idle: Seconds without a request after which a client is disconnected, and after which the server stops.
        json: Print JSON, one line when it is ready and one when it stops.
    """
    check_key(key, no_key=no_key, expose=expose)
    protocol = find_protocol(wire)
    flags = PolicyFlags(model=model, adapter=adapter, server=server, policy_options=policy_options, format=format)
    spec = flags.spec(policy)
    if needs_truth(spec.policy):
        raise SettingError(
            f"The policy {spec.policy!r} reads the simulator's ground truth, which is the client's. Use another one."
        )
    if spec.language != ENGLISH:
        raise SettingError(f"{policy} sets the language {spec.language!r}, but instructions come from the client here.")
    check_policy(spec.policy, spec.options, noise_cm=spec.noise_cm)
    limits = Limits(message_mib * 2**20, connections, idle, protocol.rows if rows == -1 else rows, allow_host, key)
    context = PolicyContext(task="", steps=0, action_format=find_format(spec), options=spec.options)
    # A model that cannot be loaded is reported now, not to the first client.
    close_policy(load_policy(spec.policy, context))
    dispatcher = Dispatcher(
        lambda: load_policy(spec.policy, context), find_convention(protocol.wire or wire, convention), limits
    )
    offered = protocol.server(dispatcher, host=host, port=port, expose=expose)
    values = {"serving": spec.label, "wire": wire, "convention": convention}
    text = f"Serving {spec.label} over {wire} ({convention})"
    return serve_until_stopped(offered, text, values, idle=idle, json=json)
