"""`vlm2vla serve-model`: one model in a process of its own, for any number of environments."""

from __future__ import annotations

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.cli.serving import check_key, serve_until_stopped
from vlm2vla_sim.core.finder import is_place
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import TextModel

MAX_BATCH = 16
REQUESTS = 24


def serve_model(
    *,
    model: str,
    adapter: str = "",
    host: str = "127.0.0.1",
    port: int = 8000,
    expose: bool = False,
    key: str = "",
    no_key: bool = False,
    allow_host: tuple[str, ...] = (),
    requests: int = REQUESTS,
    idle: float = 1800.0,
    dtype: str = "auto",
    device_map: str = "",
    quantization: str = "",
    max_batch: int = MAX_BATCH,
    json: bool = False,
) -> CommandResult:
    """Serve a vision-language model as "base", and its adapter as "adapter", with OpenAI's chat API.

    Prints the address when it is ready. Stops after --idle seconds without a request, at Ctrl-C, or on SIGTERM. For
    many users or a large model, use vLLM, which has the same API.

    Args:
        model: A folder, or a name on the hub such as google/gemma-3-4b-it. Your own TextModel as package.module:NAME.
        adapter: A PEFT adapter's folder or name.
        host: Address to listen on; other than loopback needs --expose.
        port: Port to listen on; 0 takes a free one.
        expose: Accept requests from the network; needs --key or --no-key.
        key: A secret that each request has to bring, as "Authorization: Bearer KEY".
        no_key: Let everybody on the network use the server.
        allow_host: A further name by which clients reach this server, such as that of a tunnel.
        requests: The most requests that wait for the model or are answered; a further one gets status 503.
        idle: Seconds without a request after which it stops.
        dtype: A torch dtype, or "auto" for the one the weights are stored in.
        device_map: As in transformers; empty for the GPU if there is one, else the CPU.
        quantization: 8bit or 4bit, through bitsandbytes.
        max_batch: The most questions in one batch.
        json: Print JSON, one line when it is ready and one when it stops.
    """
    from vlm2vla_sim.serving.model_server import ModelServer, ServedModel, default_limits

    check_key(key, no_key=no_key, expose=expose)
    limits = default_limits(requests=requests, idle=idle)
    text_model = _load(model, adapter, dtype, device_map, quantization, max_batch)
    served = ServedModel(text_model, "base", "adapter" if adapter else "")
    server = ModelServer(served, limits, host=host, port=port, expose=expose, key=key, hosts=allow_host)
    return serve_until_stopped(server, f"Serving {model}", {"serving": model}, idle=idle, json=json)


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
