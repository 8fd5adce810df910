"""Images that are drawn when somebody looks: drawing takes most of a control step, and policies look at one in ten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vlm2vla_sim.errors import EpisodeError

Images = dict[str, np.ndarray]
"""Camera -> (H, W, 3) uint8 RGB."""


class LazyImages(dict[str, np.ndarray]):
    """observation["pixels"] of an environment whose `images_on_demand` is set.

    A dictionary of images whose cameras are known; the images of all are drawn when the first is read, or when the
    dictionary is changed. They show the state after one step: first used after the next step, they are an EpisodeError.
    """

    def __init__(self, cameras: Iterable[str], draw: Callable[[], Images]) -> None:
        """draw: makes the images of `cameras`."""
        super().__init__(dict.fromkeys(cameras, np.empty(0)))
        self._draw: Callable[[], Images] | None = draw
        self._drawn = False

    def expire(self) -> None:
        """The state is about to change: images that nobody has read cannot be drawn any more."""
        if not self._drawn:
            self._draw = None

    def drawn(self) -> Images:
        """The images, drawn if they are not yet."""
        if not self._drawn:
            if self._draw is None:
                raise EpisodeError(
                    "An image of an earlier step was not drawn, because nobody had read it before the next step. Read "
                    "it (observation['pixels']['primary']) before env.step, or set images_on_demand to False."
                )
            for name, image in self._draw().items():
                super().__setitem__(name, image)
            self._drawn, self._draw = True, None
        return {name: super(LazyImages, self).__getitem__(name) for name in super().keys()}  # noqa: SIM118

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise KeyError(name)
        return self.drawn()[name]

    def get(self, name: str, default: Any = None) -> Any:
        """As a dictionary's."""
        return self.drawn().get(name, default)

    def values(self) -> Any:
        """As a dictionary's."""
        return self.drawn().values()

    def items(self) -> Any:
        """As a dictionary's."""
        return self.drawn().items()

    def copy(self) -> Images:
        """An ordinary dictionary of the images."""
        return self.drawn()

    def __iter__(self) -> Iterator[str]:
        # Overridden, so that dict(images) and {**images} ask `__getitem__` for every value.
        return iter(super().keys())

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> Any:
        return self.drawn() | other

    def __repr__(self) -> str:
        return f"<LazyImages of {', '.join(self)}, {'drawn' if self._drawn else 'not drawn yet'}>"

    # Changes, to the images as they are drawn.

    def __setitem__(self, name: str, image: np.ndarray) -> None:
        self.drawn()
        super().__setitem__(name, image)

    def __delitem__(self, name: str) -> None:
        self.drawn()
        super().__delitem__(name)

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def pop(self, *arguments: Any) -> Any:
        """As a dictionary's."""
        self.drawn()
        return super().pop(*arguments)

    def popitem(self) -> tuple[str, np.ndarray]:
        """As a dictionary's."""
        self.drawn()
        return super().popitem()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As a dictionary's."""
        self.drawn()
        return super().setdefault(name, default)

    def update(self, *others: Any, **images: np.ndarray) -> None:
        """As a dictionary's."""
        self.drawn()
        super().update(*others, **images)

    def clear(self) -> None:
        """As a dictionary's."""
        self.drawn()
        super().clear()

    # Copies, which are ordinary dictionaries.

    def __reduce__(self) -> tuple[type, tuple[Images]]:
        return dict, (self.drawn(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Images:
        return {name: image.copy() for name, image in self.drawn().items()}


def expire_images(observation: Mapping[str, Any]) -> None:
    """`LazyImages.expire` for the images of `observation`, where they are lazy."""
    pixels = observation.get("pixels")
    if isinstance(pixels, LazyImages):
        pixels.expire()
