"""Labelled images from a NumPy file in the layout of Keras's `mnist.npz`; nothing is downloaded.

The file is an .npz of four arrays: `x_train`, uint8 [images, height, width], `y_train`, integers
[images], and `x_test` and `y_test`, which are held out for tests. Nothing pickled is read.
"""

import textwrap
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from ternevo import reading

NAMES = ("x_train", "y_train", "x_test", "y_test")
MAGIC = b"PK\x03\x04"
MAX_LABELS = 1000
"""Largest number of labels, as many as ImageNet has: each is an output of a policy."""


class ImageFileError(ValueError):
    """A file of images cannot be used; the message names it and says why."""


class LabelledImages(NamedTuple):
    """Images of pixels from 0 to 255 and their labels; the last `num_test` are held out."""

    images: UInt8[np.ndarray, "images height width"]
    labels: Int32[np.ndarray, " images"]
    num_test: int
    num_labels: int


def read(path: Path) -> LabelledImages:
    """Return the images of a file; labels are 0 to the largest of `y_train`.

    Raises:
      ImageFileError: there is no such file, or it is not an .npz; or an array is missing, pickled
        or damaged, or has another shape or dtype, or a label that cannot be.
      NotAFile: it is a directory, a FIFO or the like.
    """
    x_train, y_train, x_test, y_test = _arrays(path)
    _check_shapes(path, "train", x_train, y_train)
    _check_shapes(path, "test", x_test, y_test)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ImageFileError(
            f"{path}: x_train is {_kind(x_train)} and x_test {_kind(x_test)}; their images must "
            "have the same height and width"
        )
    _check_labels(path, "y_train", y_train, MAX_LABELS - 1)
    num_labels = int(y_train.max()) + 1
    if num_labels == 1:
        raise ImageFileError(f"{path}: y_train has only the label 0; there must be two or more")
    _check_labels(path, "y_test", y_test, num_labels - 1)
    images = np.concatenate([x_train, x_test])
    labels = np.concatenate([y_train.astype(np.int32), y_test.astype(np.int32)])
    return LabelledImages(images, labels, len(y_test), num_labels)


def _arrays(path: Path) -> list[np.ndarray]:
    """Return the arrays called `NAMES`."""
    _check_is_zip(path)
    with path.open("rb") as file:  # `np.load` does not close what it cannot read
        archive = _opened(path, file)
        missing = [name for name in NAMES if name not in archive.files]
        if missing:
            there = textwrap.shorten(", ".join(archive.files), 200, placeholder=" ...")
            raise ImageFileError(
                f"{path} has no {', '.join(missing)}. It has: {there or 'nothing'}"
            )
        return [_array(path, archive, name) for name in NAMES]


def _check_is_zip(path: Path) -> None:
    try:
        start = reading.read_bytes(path, len(MAGIC))[: len(MAGIC)]
    except FileNotFoundError as error:
        raise ImageFileError(
            f"there is no file {path.absolute()}. It must be an .npz with {', '.join(NAMES)}, in "
            "the layout of Keras's mnist.npz; nothing is downloaded"
        ) from error
    if start != MAGIC:
        raise ImageFileError(f"{path} is not an .npz of NumPy, which is a zip")


def _opened(path: Path, file: BinaryIO) -> Any:
    try:
        return np.load(file, allow_pickle=False)
    except Exception as error:  # a damaged zip may raise almost anything
        raise ImageFileError(f"{path} cannot be read: {error}") from error


def _array(path: Path, archive: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(archive[name])  # what is not a .npy comes as bytes
    except Exception as error:
        raise ImageFileError(f"{path}: {name} cannot be read: {error}") from error


def _check_shapes(path: Path, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse arrays of another dtype or shape, or without a single image."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.size == 0:
        raise ImageFileError(
            f"{path}: x_{part} is {_kind(images)}; must be uint8[images, height, width], with at "
            "least one image"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise ImageFileError(
            f"{path}: y_{part} is {_kind(labels)}; must be integers[{len(images)}], a label for "
            f"each image of x_{part}"
        )


def _check_labels(path: Path, name: str, labels: np.ndarray, most: int) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > most:
        wrong, why = (low if low < 0 else high), "" if name == "y_train" else ", as in y_train"
        raise ImageFileError(f"{path}: {name} has the label {wrong}; must be 0 to {most}{why}")


def _kind(array: np.ndarray) -> str:
    """Return dtype and shape as words, such as uint8[60000, 28, 28]."""
    return f"{array.dtype}{list(array.shape)}"
