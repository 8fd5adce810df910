"""The processors of the families, with image processors that make one tile of an image; see `families`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers
from policies.family_models import PATCH, SIDE

from vlm2vla_sim.policies.models.hf_processor import NoVideo, processor_class

PIXELS = {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE}


def gemma3(tokenizer: Any, template: str) -> Any:
    images = transformers.Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_convert_rgb=True)
    return transformers.Gemma3Processor(images, tokenizer, chat_template=template, image_seq_length=4)


def gemma4(tokenizer: Any, template: str) -> Any:
    images = transformers.Gemma4ImageProcessorPil(patch_size=PATCH, max_soft_tokens=70, pooling_kernel_size=3)
    sound = transformers.Gemma4AudioFeatureExtractor()
    made = processor_class("Gemma4Processor")
    return made(sound, images, tokenizer, NoVideo({}), chat_template=template, image_seq_length=70)


def paligemma2(tokenizer: Any, template: str) -> Any:
    images = transformers.SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_convert_rgb=True)
    images.image_seq_length = 16
    return transformers.PaliGemmaProcessor(images, tokenizer, chat_template=template)


def qwen(name: str) -> Callable[[Any, str], Any]:
    def make(tokenizer: Any, template: str) -> Any:
        images = transformers.Qwen2VLImageProcessorPil(size=PIXELS, patch_size=PATCH, merge_size=2)
        return processor_class(name)(images, tokenizer, NoVideo({}), chat_template=template)

    return make


def glm4v(tokenizer: Any, template: str) -> Any:
    images = transformers.Glm4vImageProcessorPil(
        size={"shortest_edge": 2 * SIDE * SIDE, "longest_edge": 2 * SIDE * SIDE}, patch_size=PATCH, merge_size=2
    )
    return processor_class("Glm4vProcessor")(images, tokenizer, NoVideo({}), chat_template=template)


def smolvlm(tokenizer: Any, template: str) -> Any:
    images = transformers.SmolVLMImageProcessorPil(
        size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False
    )
    return processor_class("SmolVLMProcessor")(images, tokenizer, NoVideo({}), image_seq_len=4, chat_template=template)


def llava_onevision(tokenizer: Any, template: str) -> Any:
    side = {"height": SIDE, "width": SIDE}
    images = transformers.LlavaOnevisionImageProcessorPil(size=side, image_grid_pinpoints=[[SIDE, SIDE]])
    return processor_class("LlavaOnevisionProcessor")(
        images, tokenizer, NoVideo({}), num_image_tokens=16, vision_feature_select_strategy="full",
        chat_template=template,
    )  # fmt: skip


def internvl3(tokenizer: Any, template: str) -> Any:
    images = transformers.GotOcr2ImageProcessorPil(size={"height": SIDE, "width": SIDE}, max_patches=1)
    return processor_class("InternVLProcessor")(
        images, tokenizer, NoVideo({}), image_seq_length=4, chat_template=template
    )


def mistral3(tokenizer: Any, template: str) -> Any:
    images = transformers.PixtralImageProcessorPil(
        size={"longest_edge": SIDE}, patch_size={"height": PATCH, "width": PATCH}
    )
    return processor_class("PixtralProcessor")(
        images, tokenizer, patch_size=PATCH, spatial_merge_size=2, chat_template=template
    )


class OneTileKwargs(transformers.Siglip2ImageProcessorPil.valid_kwargs, total=False):
    return_row_col_info: bool


class OneTile(transformers.Siglip2ImageProcessorPil):
    """Images as LFM2-VL's own processor, which needs torchvision, makes them of one tile."""

    valid_kwargs = OneTileKwargs
    use_thumbnail, tile_size, encoder_patch_size, downsample_factor = False, SIDE, PATCH, 2

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs = {name: value for name, value in kwargs.items() if name != "return_row_col_info"}
        images = [[image.resize((SIDE, SIDE)) for image in of_prompt] for of_prompt in images]
        made = super().__call__(images, *args, **kwargs)
        number = len(made["spatial_shapes"])
        made["image_rows"] = made["image_cols"] = [1] * number
        made["image_sizes"] = [[int(side) * self.patch_size for side in shape] for shape in made["spatial_shapes"]]
        return made


transformers.IMAGE_PROCESSOR_MAPPING.register(transformers.Lfm2VlConfig, {"pil": OneTile}, exist_ok=True)


def lfm2_vl(tokenizer: Any, template: str) -> Any:
    images = OneTile(patch_size=PATCH, max_num_patches=16)
    return transformers.Lfm2VlProcessor(images, tokenizer, chat_template=template)
