"""What the tests of this folder need: the packages of the extra [vlm], and an adapter that was never trained."""

from __future__ import annotations

from pathlib import Path

from lane import need

PACKAGES = ("torch", "transformers", "peft", "llguidance")
TRAINING = ("trl", "datasets", "accelerate")


def need_vlm() -> None:
    """Call it before anything of the extra is imported."""
    need("vlm", *PACKAGES)


def need_train() -> None:
    """The same, for what trains."""
    need("vlm", *PACKAGES, *TRAINING, extra="train")


def make_adapter(model_folder: Path, folder: Path, *, scale: float, **config: object) -> Path:
    """A LoRA adapter for the model in `model_folder`; a scale of 0 leaves it untrained.

    config: further values for peft's `LoraConfig`.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from vlm2vla_sim.policies.models.hf_adapter import peft_reads_old_attribute

    base = AutoModelForImageTextToText.from_pretrained(model_folder, dtype="float32")
    # The language model only: plain names would also hit the vision tower.
    targets = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        with peft_reads_old_attribute():
            model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=targets, **config))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, 0.0, scale)
    model.save_pretrained(folder)
    return folder


LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% endif %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image_soft_token>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% if message['role'] == 'user' %} ASSISTANT:{% else %}{{ eos_token }}{% endif %}{% endfor %}"
)


def make_llava(folder: Path) -> Path:
    """A tiny LLaVA, CLIP in front of a Llama, written to `folder`."""
    import torch
    import transformers

    from vlm2vla_sim.policies.models.random_model import make_tokenizer

    tokenizer = make_tokenizer()
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(
            vocab_size=1024, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=56,
            patch_size=14,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image_soft_token>"), image_seq_length=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlavaForConditionalGeneration(config)
        for weight in model.parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, 0.0, 2 * weight.shape[-1] ** -0.5)
    side = {"height": 56, "width": 56}
    images = transformers.CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=side)
    processor = transformers.LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default", image_token="<image_soft_token>",
        num_additional_image_tokens=1, chat_template=LLAVA_TEMPLATE,
    )  # fmt: skip
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
