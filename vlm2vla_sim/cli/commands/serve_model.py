"""`vlm2vla serve-model`: one model in one process, for any number of environments elsewhere."""

from __future__ import annotations

import sys

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.errors import SettingError


def serve_model(
    *,
    model: str,
    adapter: str = "",
    host: str = "127.0.0.1",
    port: int = 8000,
    idle: float = 1800.0,
    dtype: str = "auto",
    device_map: str = "",
    quantization: str = "",
    max_batch: int = 16,
    json: bool = False,
) -> CommandResult:
    """Serve a vision-language model, and its adapter under the name "adapter", in the way of OpenAI's chat API.

    Prints the address once it answers. Stops when nobody has asked for --idle seconds, or at Ctrl-C. For many users or
    a large model, vLLM is the better server, and our client speaks to it as well.

    Args:
        model: A folder, or a name on the hub such as google/gemma-3-4b-it. It is offered as "base".
        adapter: A PEFT adapter's folder or name; offered as "adapter".
        host: Address to listen on; other than 127.0.0.1 means that others on the network can ask it, without a key.
        port: Port to listen on; 0 takes a free one.
        idle: Seconds without a question after which it stops.
        dtype: As torch calls it, or "auto" for what the weights are stored in.
        device_map: As transformers takes it; empty for one GPU where there is one, else the CPU.
        quantization: 8bit or 4bit, through bitsandbytes.
        max_batch: Questions that are answered together at most.
        json: Print JSON, one line once it answers and one when it stops.
    """
    if not idle > 0:
        raise SettingError(f"idle is {idle}; expected more than 0 seconds.")
    from vlm2vla_sim.policies.models.hub import locate

    locate(model)  # before torch is imported, so that an unreachable hub is reported within seconds
    from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings
    from vlm2vla_sim.serving.model_server import ModelServer, ServedModel

    settings = HfSettings(
        model, adapter, dtype=dtype, device_map=device_map, quantization=quantization, max_batch=max_batch
    )
    served = ServedModel(HfModel(settings), "base", "adapter" if adapter else "")
    with ModelServer(served, host=host, port=port, idle=idle) as server:
        ready = CommandResult(f"Serving {model} at {server.url}", {"serving": model, "url": server.url}, json)
        sys.stdout.write(f"{ready.printed()}\n")
        sys.stdout.flush()
        server.serve_forever()
    return CommandResult(f"Stopped: nobody asked for {idle:g} s.", {"stopped": "idle"}, json)
