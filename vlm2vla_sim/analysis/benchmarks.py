"""The paper's twelve VQA benchmarks: their lmms-eval task names, the paper's results and the commands to run them.

The benchmarks need data sets of many gigabytes and, for some, an API key of a judge model, so the package does not
include them. The exact list of tasks makes results of different people comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """One column of the paper's table 1."""

    name: str
    """The name in the paper."""
    task: str
    """The task name in lmms-eval 0.7.3 (lmms_eval/tasks); the public validation or development split, if any."""
    base: float
    """Gemma-3-12B-IT in the paper's table 1 (https://vlm2vla.github.io)."""
    vlm2vla: float
    tokens: float
    """VLM2VLA-AT."""


PAPER = (
    Benchmark("MMMU", "mmmu_val", 46.0, 42.7, 45.9),
    Benchmark("MMStar", "mmstar", 46.3, 48.0, 45.2),
    Benchmark("MME", "mme", 1182.3, 1391.7, 1082.2),
    Benchmark("OCRBench", "ocrbench", 75.0, 63.9, 65.5),
    Benchmark("MMB-en", "mmbench_en_dev", 76.9, 68.5, 70.9),
    Benchmark("MMB-cn", "mmbench_cn_dev", 74.7, 67.6, 66.8),
    Benchmark("TextVQA", "textvqa_val", 68.9, 64.9, 64.2),
    Benchmark("DocVQA", "docvqa_val", 80.6, 78.4, 74.6),
    Benchmark("InfoVQA", "infovqa_val", 50.4, 46.2, 44.8),
    Benchmark("AI2D", "ai2d", 78.5, 74.0, 74.1),
    Benchmark("ChartQA", "chartqa", 55.1, 58.3, 41.8),
    Benchmark("RealWorldQA", "realworldqa", 50.6, 43.3, 44.5),
)
"""The paper does not name the tool or the split it used: compare a model with its own base, not with these numbers."""


NEEDS_VLLM = ("mmmu_val",)
"""Its questions interleave images and text; our own server takes images first, then text, as our prompts do."""
NEEDS_JUDGE = ("mmbench_en_dev", "mmbench_cn_dev")
"""Answers that name no choice are graded by an OpenAI model (OPENAI_API_KEY); without a key they count as wrong."""


def commands(model: str, adapter: str, *, port: int = 8000) -> list[str]:
    """The shell commands that evaluate base and adapter: a server in one terminal, lmms-eval in another."""
    ours = [benchmark.task for benchmark in PAPER if benchmark.task not in NEEDS_VLLM]
    serve = f"vlm2vla serve-model --model {model}" + (f" --adapter {adapter}" if adapter else "")
    large = f"vllm serve {model} --served-model-name base"
    large += f" --enable-lora --lora-modules adapter={adapter}" if adapter else ""
    names = ["base", *(["adapter"] if adapter else [])]
    return [
        "pip install 'lmms-eval==0.7.3'",
        f"# {', '.join(NEEDS_JUDGE)}: a judge model grades free-form answers; replace none by its OPENAI_API_KEY",
        f"{serve} --port {port}",
        *(_evaluate(name, ours, port) for name in names),
        f"# {', '.join(NEEDS_VLLM)}: interleaves images and text, so it runs on vLLM instead of our server",
        f"{large} --port {port}",
        *(_evaluate(name, NEEDS_VLLM, port) for name in names),
    ]


def _evaluate(name: str, tasks: Sequence[str], port: int) -> str:
    return (
        "OPENAI_API_KEY=none lmms-eval eval --model async_openai "
        f"--model_args model_version={name},base_url=http://127.0.0.1:{port}/v1 "
        f"--tasks {','.join(tasks)} --batch_size 1 --output_path runs/lmms-{name}"
    )
