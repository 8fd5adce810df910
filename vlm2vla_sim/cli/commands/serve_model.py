"""`vlm2vla serve-model`: one model in a process of its own, for any number of environments."""

from __future__ import annotations

import sys

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.finder import is_place
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import TextModel

MAX_BATCH = 16


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
    max_batch: int = MAX_BATCH,
    json: bool = False,
) -> CommandResult:
    """Serve a vision-language model as "base", and its adapter as "adapter", with OpenAI's chat API.

    Prints the address when it is ready. Stops after --idle seconds without a request, or at Ctrl-C. For many users or a
    large model, use vLLM, which has the same API.

    Args:
        model: A folder, or a name on the hub such as google/gemma-3-4b-it. Your own TextModel as package.module:NAME.
        adapter: A PEFT adapter's folder or name.
        host: Address to listen on; other than 127.0.0.1 accepts requests from the network, without a key.
        port: Port to listen on; 0 takes a free one.
        idle: Seconds without a request after which it stops.
        dtype: A torch dtype, or "auto" for the one the weights are stored in.
        device_map: As in transformers; empty for the GPU if there is one, else the CPU.
        quantization: 8bit or 4bit, through bitsandbytes.
        max_batch: The most questions in one batch.
        json: Print JSON, one line when it is ready and one when it stops.
    """
    if not idle > 0:
        raise SettingError(f"idle is {idle}; expected more than 0 seconds.")
    from vlm2vla_sim.serving.model_server import ModelServer, ServedModel

    text_model = _load(model, adapter, dtype, device_map, quantization, max_batch)
    served = ServedModel(text_model, "base", "adapter" if adapter else "")
    with ModelServer(served, host=host, port=port, idle=idle) as server:
        ready = CommandResult(f"Serving {model} at {server.url}", {"serving": model, "url": server.url}, json)
        sys.stdout.write(f"{ready.printed()}\n")
        sys.stdout.flush()
        server.serve_forever()
    return CommandResult(f"Stopped: no request for {idle:g} s.", {"stopped": "idle"}, json)


def _load(model: str, adapter: str, dtype: str, device_map: str, quantization: str, max_batch: int) -> TextModel:
    if is_place(model):
        from vlm2vla_sim.policies.vlm import VlmOptions, make_text_model

        if max_batch != MAX_BATCH:
            raise SettingError(f"max_batch is {max_batch}, but {model} is your own model, which batches as it likes.")
        return make_text_model(
            VlmOptions(model, adapter, dtype=dtype, device_map=device_map, quantization=quantization)
        )
    from vlm2vla_sim.policies.models.hub import locate

    locate(model)  # before torch is imported, so that an unreachable hub is reported within seconds
    from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings

    return HfModel(HfSettings(model, adapter, dtype, device_map, quantization, max_batch=max_batch))
