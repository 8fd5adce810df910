"""Loads a model's processor, its tokenizer and image processor, also where torchvision is not installed.

Most families have a video part that needs torchvision, and transformers refuses the whole processor without it. No
video is read here, so the processor is then built of its other parts; its images are made by PIL.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

from vlm2vla_sim.errors import SettingError, missing_extra

try:
    import transformers
except ModuleNotFoundError as error:
    raise missing_extra("A model in this process", error.name or "transformers", "vlm") from error

VIDEO_CONFIG = "video_preprocessor_config.json"
_NEEDS = (
    r"requires the (\w+) library",
    r"requires `([\w-]+)` to be installed",
    r"optional dependencies: ([\w-]+)",
    r"[Pp]ackage `([\w-]+)`",
    r"pip install (?:-\w+ )*([\w-]+)",
)
"""How transformers names a package that is not installed."""
_IMPORTING = threading.Lock()


class NoVideo(transformers.ImageProcessingMixin):
    """The place of a processor's video part, which needs torchvision. It keeps the settings, so that they are saved."""

    model_input_names: ClassVar[list[str]] = []
    num_frames = fps = merge_size = None
    """What processors read of it beside videos."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """settings: of the video part, as in the model's folder."""
        super().__init__()
        self._settings = settings

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """SettingError: videos cannot be read."""
        raise SettingError("A video was given to a processor that was built without torchvision; it reads images only.")

    def to_dict(self) -> dict[str, Any]:
        """The settings of the video part."""
        return dict(self._settings)


def build_processor(place: str) -> Any:
    """The processor in the folder, or of the hub name, `place`. ImportError if it needs a package that is not there."""
    try:
        return transformers.AutoProcessor.from_pretrained(place)
    except (ImportError, ValueError) as error:  # for a video part it is a ValueError
        if "torchvision" not in str(error).lower():
            raise
    try:
        return _without_video(place)
    except ValueError as error:
        if "torchvision" not in str(error).lower():
            raise
        raise ImportError(str(error)) from error


def check_processor(processor: Any, model: str) -> None:
    """SettingError unless `processor` makes prompts of images and text by a chat template. model: its name."""
    for part in ("image_processor", "tokenizer"):
        if getattr(processor, part, None) is None:
            raise SettingError(
                f"The files of {model!r} give a {type(processor).__name__}, which has no {part.replace('_', ' ')}; "
                "expected the processor of a model that reads images and text. Give the folder of such a model, with "
                "preprocessor_config.json or processor_config.json."
            )
    if not getattr(processor, "chat_template", None):
        raise SettingError(
            f"The processor of {model!r} has no chat template, so a question cannot be written as the model was "
            "trained to read it. Use the instruction-tuned model of the family, or put a chat_template.jinja beside "
            "the weights."
        )


def processor_class(name: str) -> Any:
    """The processor class `name` of transformers, accepting `NoVideo` for its video part.

    ImportError if it cannot be imported without torchvision.
    """
    found: Any = getattr(transformers, name)
    if getattr(found, "is_dummy", False):
        found = _imported_without_torchvision(found.__module__, name)

    def check_argument(self: Any, argument_name: str, argument: Any) -> Any:
        if isinstance(argument, NoVideo):
            return NoVideo
        return super(made, self).check_argument_for_proper_class(argument_name, argument)

    names = {"check_argument_for_proper_class": check_argument, "__module__": found.__module__}
    made = type(found.__name__, (found,), names)  # by the same name, which is saved with it
    return made


def needed_package(error: ImportError) -> str:
    """The package to install, from an error of an import or of transformers' own check."""
    if error.name:
        return error.name.partition(".")[0]
    text = str(error).strip()
    found = re.search("|".join(_NEEDS), text)
    return next(filter(None, found.groups())).lower() if found else (text.splitlines() or ["unknown"])[0]


def _without_video(place: str) -> Any:
    """The processor in `place`, of its parts besides the video part. ImportError if one of them needs torchvision."""
    settings, _ = transformers.ProcessorMixin.get_processor_dict(place)
    made = processor_class(settings.get("processor_class") or _usual_class(place))
    parts = {
        "image_processor": transformers.AutoImageProcessor.from_pretrained,
        "feature_extractor": transformers.AutoFeatureExtractor.from_pretrained,
        "tokenizer": transformers.AutoTokenizer.from_pretrained,
    }
    if "Pixtral" in made.__name__:  # as `ProcessorMixin` does: some folders name another tokenizer
        parts["tokenizer"] = transformers.TokenizersBackend.from_pretrained
    arguments = []
    for name in made.get_attributes():
        if name == "video_processor":
            arguments.append(NoVideo(_video_settings(place, settings)))
        elif name in parts:
            arguments.append(parts[name](place))
        else:
            raise ImportError(f"The part {name} of a {made.__name__} needs the package `torchvision`.")
    return made.from_args_and_dict(arguments, settings)


def _usual_class(place: str) -> str:
    """The class of the processor that belongs to the architecture of the model in `place`."""
    for read in (transformers.AutoImageProcessor, transformers.AutoTokenizer):
        named = getattr(read.from_pretrained(place), "_processor_class", None)
        if named:
            return named
    config = transformers.AutoConfig.from_pretrained(place)
    if type(config) not in transformers.PROCESSOR_MAPPING:
        raise ValueError(f"transformers has no processor for a {config.model_type!r} model.")
    return transformers.PROCESSOR_MAPPING[type(config)].__name__


def _video_settings(place: str, settings: dict[str, Any]) -> dict[str, Any]:
    nested = settings.get("video_processor")
    if isinstance(nested, dict):
        return nested
    file = transformers.utils.cached_file(place, VIDEO_CONFIG, _raise_exceptions_for_missing_entries=False)
    if file is None:
        return {}
    return json.loads(Path(file).read_text(encoding="utf-8"))


def _imported_without_torchvision(module: str, name: str) -> Any:
    """The class `name` in `module`, which transformers hides where torchvision is not installed.

    The module takes from the torchvision backend what only counts tokens for other programs, and only if images can be
    processed at all: it is told that they cannot while it is imported.
    """
    with _IMPORTING:
        known = transformers.utils.is_vision_available
        transformers.utils.is_vision_available = lambda: False
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError:
            sys.modules.pop(module, None)
            raise
        finally:
            transformers.utils.is_vision_available = known
