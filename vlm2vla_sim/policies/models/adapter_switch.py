"""Turns an adapter off for single steps of decoding.

peft's `disable_adapter` inspects every module and every weight as it is entered: 43 ms of CPU for an adapter on all
252 linear layers of a 36-layer model, at each token of the base model's answers. Here the modules are found once, and
the flag that peft's layers read is set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class AdapterSwitch:
    """The modules of one `PeftModel` that have an adapter."""

    def __init__(self, model: Any) -> None:
        """model: with its adapter, enabled; no adapter is added later."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        self._modules: list[Any] = [module for module in model.modules() if isinstance(module, kinds)]

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """The modules compute here as without an adapter."""
        before = [module._disable_adapters for module in self._modules]
        try:
            for module in self._modules:
                module._disable_adapters = True
            yield
        finally:
            for module, disabled in zip(self._modules, before, strict=True):
                module._disable_adapters = disabled
