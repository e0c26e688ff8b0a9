r"""Images to features by fixed random filters: no weights to get, the same numbers on every machine.

An image is turned upright, laid on white where it is transparent, scaled to ``SIDE`` x ``SIDE`` pixels and run through
``FILTERS`` random filters of ``WIDTH`` x ``WIDTH`` pixels at every second place. In each cell of a grid of cells, a
filter's rectified replies leave their mean and their largest value [1]_; the cell's mean colour stands beside them.
That is enough for colours, shapes, textures and where they are, and too little for what things are called: for
photographs use a pretrained model (:mod:`guerdon.encode.two_tower`).

References
----------
.. [1] Saxe et al. 2011. On Random Weights and Unsupervised Feature Learning. ICML
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from guerdon.encode.media import Medium
from guerdon.errors import FeedbackError, need

VERSION = 1
SIDE, FILTERS, WIDTH, STRIDE = 32, 64, 4, 2
MAX_PIXELS = 64_000_000


def open_image(data: bytes, medium: Medium) -> Any:
    """A PIL image: upright, RGB, on white where it was transparent; the first frame of a moving one.

    Raises
    ------
    FeedbackError
        if the bytes are no image, are cut off, or have more than ``MAX_PIXELS`` pixels
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise need("pillow", "media") from None
    try:
        with Image.open(io.BytesIO(data)) as file:
            wide, high = file.size
            if wide * high > MAX_PIXELS:
                raise FeedbackError(f"{medium}: {wide} x {high} pixels, at most {MAX_PIXELS:,} are read; scale it down")
            upright = ImageOps.exif_transpose(file)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                ground = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(ground, upright)
            return upright.convert("RGB")
    except UnidentifiedImageError:
        raise FeedbackError(f"{medium}: not an image of a known format; convert it to PNG or JPEG") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FeedbackError(f"{medium}: damaged, it cannot be read ({why}); write it again") from None


class ImageFilters:
    """Images to float32 [n, dim] by fixed random filters, over ``grid`` x ``grid`` cells."""

    kind, name, cached = "image", "filters", True

    def __init__(self, grid: int = 2) -> None:
        self.grid = grid
        self.spec = f"filters:{grid}"
        self.identity: dict[str, Any] = {"encoder": "image-filters", "version": VERSION, "grid": grid}

    @property
    def dim(self) -> int:
        """Mean and largest reply of each filter and the mean colour, a cell."""
        return self.grid**2 * (2 * FILTERS + 3)

    @cached_property
    def filters(self) -> np.ndarray:
        """float64 [WIDTH * WIDTH * 3, FILTERS]; half of them see contrast alone (their weights sum to 0)."""
        drawn = np.random.default_rng(0).standard_normal((WIDTH * WIDTH, 3, FILTERS))
        drawn[:, :, FILTERS // 2 :] -= drawn[:, :, FILTERS // 2 :].mean(0, keepdims=True)
        return drawn.reshape(-1, FILTERS) / np.sqrt(WIDTH * WIDTH * 3)

    def batches(self, media: Sequence[tuple[Medium, bytes]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, features) of media, one by one: features do not depend on what else is encoded."""
        for i, (medium, data) in enumerate(media):
            yield np.array([i]), self.features(pixels(open_image(data, medium)))[None]

    def features(self, picture: np.ndarray) -> np.ndarray:
        """float32 [dim] of a picture float64 [SIDE, SIDE, 3] in [0, 1]."""
        windows = np.lib.stride_tricks.sliding_window_view(picture, (WIDTH, WIDTH), axis=(0, 1))[::STRIDE, ::STRIDE]
        at = windows.shape[0]
        flat = windows.transpose(0, 1, 3, 4, 2).reshape(at * at, -1) - 0.5
        replies = np.maximum(flat @ self.filters, 0).reshape(at, at, FILTERS)
        out = []
        for rows in np.array_split(np.arange(at), self.grid):
            for columns in np.array_split(np.arange(at), self.grid):
                cell = replies[np.ix_(rows, columns)].reshape(-1, FILTERS)
                out += [cell.mean(0), cell.max(0)]
        for rows in np.array_split(picture - 0.5, self.grid, axis=0):
            out += [cell.mean((0, 1)) for cell in np.array_split(rows, self.grid, axis=1)]
        return np.concatenate(out).astype(np.float32)


def pixels(image: Any, side: int = SIDE) -> np.ndarray:
    """float64 [side, side, 3] in [0, 1] of a PIL image, whatever its proportions."""
    from PIL import Image

    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float64) / 255
