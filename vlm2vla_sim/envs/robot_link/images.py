"""The main camera's images: JPEGs of a robot server, as the policy is shown them."""

from __future__ import annotations

import io

import numpy as np

from vlm2vla_sim.core.terminal import to_stderr
from vlm2vla_sim.errors import LinkLostError, missing_extra

SMALLEST = 16
"""[px] A side shorter than this is not a camera's."""
END = b"\xff\xd9"
"""A JPEG that does not end with these bytes is cut off; OpenCV fills what is missing with grey."""


class ImageReader:
    """Decodes images to one size, and says once what had to be converted for it."""

    def __init__(self, size: tuple[int, int]) -> None:
        """size: (height, width) of the images to return."""
        self._size = size
        self._told: set[str] = set()
        self.converted = ""
        """What the last image was and what was made of it; empty when it was as it should be."""

    def read(self, jpeg: bytes) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the wanted size; LinkLostError ("camera_stale") for what is no image of a camera.

        An image with one channel becomes a grey one, and one of another size is resized.
        """
        image = decode_jpeg(jpeg)
        self.converted = self._describe(image)
        if self.converted and self.converted not in self._told:
            self._told.add(self.converted)
            to_stderr(f"The camera's images are converted: {self.converted}.\n")
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        if image.shape[:2] != self._size:
            from PIL import Image

            image = np.array(Image.fromarray(image).resize((self._size[1], self._size[0]), Image.Resampling.BOX))
        return image

    def _describe(self, image: np.ndarray) -> str:
        grey, other_size = image.ndim == 2, image.shape[:2] != self._size
        if not (grey or other_size):
            return ""
        (height, width), (to_height, to_width) = image.shape[:2], self._size
        stretched = abs(width * to_height - to_width * height) > 0.01 * width * to_height
        return (
            f"{width} x {height}{' grey' if grey else ''} to {to_width} x {to_height} RGB"
            f"{', which stretches them' if stretched else ''}"
        )


def decode_jpeg(jpeg: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB or (H, W) uint8 grey: a JPEG of a robot server; LinkLostError ("camera_stale") for others.

    The servers hand RGB to an encoder that expects BGR, so red and blue are exchanged in the file; OpenCV, which
    decodes to BGR, exchanges them again. rail-berkeley/bridge_data_robot@a902e5b robot_base_env.py:392
    """
    try:
        import cv2
    except ImportError as error:
        raise missing_extra("The images of a robot server", "opencv-python-headless", "robot") from error
    from PIL import Image, UnidentifiedImageError

    if not jpeg:
        raise _refuse("is empty")
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as header:  # reads the header only, and bounds the size
            mode, (width, height) = header.mode, header.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise _refuse(f"cannot be decoded: {error}") from error
    if mode not in ("RGB", "L"):
        raise _refuse(f"has the channels {mode}; expected red, green and blue, or one")
    if min(width, height) < SMALLEST:
        raise _refuse(f"is {width} x {height} pixels; expected at least {SMALLEST} x {SMALLEST}")
    if not jpeg.endswith(END):
        raise _refuse(f"is cut off after {len(jpeg)} bytes")
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.shape[:2] != (height, width):
        raise _refuse("cannot be decoded")
    return decoded


def describe_value(value: object) -> str:
    """What came in place of a JPEG, for an error message: "an array (480, 640, 3) float32", "None"."""
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} {value.dtype}"
    return "none" if value is None else f"a {type(value).__name__}"


def _refuse(what: str) -> LinkLostError:
    return LinkLostError(f"The camera's image {what}. Check the camera and its driver.", reason="camera_stale")
