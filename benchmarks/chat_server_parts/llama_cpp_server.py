"""Starts llama.cpp's own HTTP server from the package xllamacpp: python llama_cpp_server.py FOLDER PORT [TEXT].

With TEXT, the picture encoder is left out. Nothing of this package is imported.
"""

from __future__ import annotations

import sys
import time

import xllamacpp


def main(folder: str, port: str, text: str = "") -> None:
    """Serve model.gguf of `folder`, with its picture encoder and its adapter, until the process is ended."""
    how = xllamacpp.CommonParams()
    how.model.path = f"{folder}/model.gguf"
    if not text:
        how.mmproj.path = f"{folder}/mmproj.gguf"
    lora = xllamacpp.CommonAdapterLoraInfo(f"{folder}/adapter.gguf", 0.0)
    how.lora_adapters = [lora]
    how.model_alias = {"base"}
    how.hostnames, how.port = ["127.0.0.1"], int(port)
    how.n_ctx, how.n_parallel = 8192, 4
    how.cpuparams.n_threads = 1
    how.use_jinja = True
    server = xllamacpp.Server(how)
    print("listening at", server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
