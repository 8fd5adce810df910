"""Defines two operators of torchvision before it is imported: without them, PyPI's build fails beside torch's on a CPU.

Python imports this module by itself where its folder is in PYTHONPATH. Gemma 3 in vLLM imports torchvision.
"""

import importlib.abc
import sys


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            sys._torchvision_operators = library  # type: ignore[attr-defined]  # collected, it would take them away


sys.meta_path.insert(0, _BeforeTorchvision())
