"""Frozen random filters over images: the same numbers for the same picture, however it is stored."""

import io

import numpy as np
import pytest
from PIL import Image

from guerdon.encode.image import FILTERS, MAX_PIXELS, SIDE, STRIDE, WIDTH, ImageFilters, open_image, pixels
from guerdon.encode.media import Medium
from guerdon.errors import FeedbackError

HERE = Medium("image", "a.png", "prompt of candidate 0")


def stored(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def picture(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def naive(encoder: ImageFilters, x: np.ndarray) -> np.ndarray:
    """The features by loops."""
    at = (SIDE - WIDTH) // STRIDE + 1
    reply = np.zeros((at, at, FILTERS))
    for i in range(at):
        for j in range(at):
            window = x[STRIDE * i : STRIDE * i + WIDTH, STRIDE * j : STRIDE * j + WIDTH] - 0.5
            for k in range(FILTERS):
                weight = encoder.filters[:, k].reshape(WIDTH, WIDTH, 3)
                reply[i, j, k] = max(0.0, float((window * weight).sum()))
    out: list[np.ndarray] = []
    edges, sides = np.array_split(np.arange(at), encoder.grid), np.array_split(np.arange(SIDE), encoder.grid)
    for rows in edges:
        for columns in edges:
            cell = np.array([reply[i, j] for i in rows for j in columns])
            out += [cell.mean(0), cell.max(0)]
    for rows in sides:
        for columns in sides:
            out.append(np.array([x[i, j] - 0.5 for i in rows for j in columns]).mean(0))
    return np.concatenate(out)


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_the_features_are_those_of_loops(grid: int) -> None:
    encoder = ImageFilters(grid)
    x = pixels(picture())
    assert encoder.features(x) == pytest.approx(naive(encoder, x), abs=1e-5)
    assert encoder.features(x).shape == (encoder.dim,)
    assert encoder.features(x).dtype == np.float32


def test_features_do_not_depend_on_the_company_of_a_picture() -> None:
    encoder = ImageFilters()
    media = [(HERE, stored(picture(seed))) for seed in range(3)]
    together = np.concatenate([rows for _, rows in encoder.batches(media)])
    for row, one in zip(together, media, strict=True):
        ((_, alone),) = encoder.batches([one])
        assert alone[0].tobytes() == row.tobytes()


def test_half_of_the_filters_do_not_see_how_light_a_picture_is() -> None:
    encoder = ImageFilters(1)
    dark, light = (encoder.features(np.full((SIDE, SIDE, 3), v)) for v in (0.2, 0.9))
    half = FILTERS // 2
    assert np.abs(dark[half:FILTERS] - light[half:FILTERS]).max() < 1e-6
    assert np.abs(dark[:half] - light[:half]).max() > 0.1


def test_orientation_transparency_and_palette_are_what_people_see() -> None:
    upright = picture(size=(20, 30))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    tag = Image.Exif()
    tag[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    seen = open_image(stored(turned, exif=tag.tobytes()), HERE)
    assert np.array_equal(np.asarray(seen), np.asarray(upright))
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert np.asarray(open_image(stored(clear), HERE)).min() == 255, "on white"
    grey = Image.new("L", (4, 4), 100)
    assert np.asarray(open_image(stored(grey), HERE)).tolist() == [[[100] * 3] * 4] * 4
    few = upright.quantize(8)
    assert np.array_equal(np.asarray(open_image(stored(few, "GIF"), HERE)), np.asarray(few.convert("RGB")))


def test_a_picture_of_any_size_is_read_at_one() -> None:
    assert pixels(picture(size=(100, 40))).shape == (SIDE, SIDE, 3)
    assert pixels(Image.new("RGB", (1, 1), (255, 0, 0)))[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_broken_files_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stored(picture(size=(200, 200)))
    with pytest.raises(FeedbackError, match=r"^prompt of candidate 0: image a\.png: not an image of a known format"):
        open_image(b"no image at all", HERE)
    for cut in (whole[:30], whole[: len(whole) // 2], whole[:40] + bytes(64) + whole[104:]):
        with pytest.raises(FeedbackError, match=r"damaged|not an image") as raised:
            open_image(cut, HERE)
        assert "\n" not in str(raised.value)
    monkeypatch.setattr("guerdon.encode.image.MAX_PIXELS", 1000)
    with pytest.raises(FeedbackError, match=r"200 x 200 pixels, at most 1,000 are read; scale it down"):
        open_image(whole, HERE)
    assert MAX_PIXELS > 40_000_000, "photographs of today's cameras"
