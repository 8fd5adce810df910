"""Chat templates that write a conversation of images and text as the templates of the families do."""

from __future__ import annotations


def _template(before: str, user: str, assistant: str, end: str, image: str, ask: str) -> str:
    """before: the conversation. user, assistant: a turn. end: of a turn. ask: for the answer."""
    return (
        before
        + "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        + assistant
        + "{% else %}"
        + user
        + "{% endif %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        + "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        + image
        + "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
        + end
        + "{% endfor %}{% if add_generation_prompt %}"
        + ask
        + "{% endif %}"
    )


def _turns(start: str, end: str, image: str, *, model: str = "assistant", before: str = "") -> str:
    return _template(before, f"{start}user\n", f"{start}{model}\n", f"{end}\n", image, f"{start}{model}\n")


GEMMA = _turns("<start_of_turn>", "<end_of_turn>", "<start_of_image>", model="model", before="{{ bos_token }}")
GEMMA_4 = _turns("<|turn>", "<turn|>", "<|image|>", model="model", before="{{ bos_token }}")
CHATML = _turns("<|im_start|>", "<|im_end|>", "<|vision_start|><|image_pad|><|vision_end|>")
LLAVA = CHATML.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>\n")
SMOLVLM = _template("<|im_start|>", "User:", "Assistant:", "<end_of_utterance>\n", "<image>", "Assistant:")
_IF_ANSWER = "{% if message['role'] == 'assistant' %}"
MISTRAL = _template(
    "{{ bos_token }}", "[INST]", "", _IF_ANSWER + "{{ eos_token }}{% else %}[/INST]{% endif %}", "[IMG]", ""
)
GLM = _template(
    "[gMASK]<sop>", "<|user|>\n", "<|assistant|>\n", _IF_ANSWER + "<|endoftext|>{% endif %}",
    "<|begin_of_image|><|image|><|end_of_image|>", "<|assistant|>\n",
)  # fmt: skip
"""With an end token, which GLM's turns do not have: they end with the next one. Training refuses such a template."""
PALIGEMMA = _template("", "", "", _IF_ANSWER + "{{ eos_token }}{% endif %}", "<image>", "")
"""The published processor has none; this is what its model card does by hand."""
