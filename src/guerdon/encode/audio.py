r"""Audio to features by its spectrum: pitch, loudness, length, timbre, where it stands and how it goes.

A recording is cut into frames of ``FRAME`` seconds. The energy of each frame in ``bands`` bands of hertz, spaced as the
ear hears them (mel, [1]_), becomes a level in decibels above ``FLOOR``. Over the frames a band leaves its mean, its
standard deviation, and how it changes from the first to the last third. Beside them stand the logarithm of the length,
the overall level, the level of the left above the right channel, the mean and largest change between neighbouring
frames, the loudest frequency's mean and change, the share of frames that sound, and how often the sound sets in. Bands
are in hertz, so the sampling rate hardly matters. WAV is read without any package, other formats through ``soundfile``
where it is installed.

References
----------
.. [1] Stevens, Volkmann & Newman 1937. A scale for the measurement of the psychological magnitude pitch
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from guerdon.encode.media import Medium
from guerdon.errors import FeedbackError

VERSION = 1
FRAME, FLOOR = 0.032, -80.0
LOWEST, HIGHEST = 60.0, 8000.0
MAX_SECONDS = 600.0
BESIDE = 9


def open_audio(data: bytes, medium: Medium) -> tuple[np.ndarray, int]:
    """(float64 [samples, channels] in [-1, 1], samples a second).

    Raises
    ------
    FeedbackError
        if the bytes are no recording, are cut off, or last longer than ``MAX_SECONDS``
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        try:
            wave, rate = _wav(data)
        except (ValueError, struct.error) as error:
            raise FeedbackError(f"{medium}: a damaged WAV file ({error}); write it again") from None
    else:
        wave, rate = _others(data, medium)
    if not len(wave) or rate <= 0:
        raise FeedbackError(f"{medium}: holds no sound")
    if len(wave) / rate > MAX_SECONDS:
        raise FeedbackError(f"{medium}: lasts {len(wave) / rate:.0f} s, at most {MAX_SECONDS:g} are read; cut it")
    if not np.isfinite(wave).all():
        raise FeedbackError(f"{medium}: holds samples that are not finite; write it again")
    return wave, rate


def _wav(data: bytes) -> tuple[np.ndarray, int]:
    """Samples of a WAV file: whole numbers of 8 to 32 bits, or floats (the standard library knows no floats)."""
    at, layout, body = 12, None, None
    while at + 8 <= len(data) and body is None:
        name, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        chunk = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            layout = struct.unpack("<HHIIHH", chunk[:16])
            if layout[0] == 0xFFFE:  # extensible: the true format stands further down
                layout = (struct.unpack("<H", chunk[24:26])[0], *layout[1:])
        elif name == b"data":
            body = chunk
            if size not in (0, 0xFFFFFFFF) and len(chunk) < size:
                raise ValueError(f"{len(chunk):,} of {size:,} bytes are there")
        at += 8 + size + size % 2
    if layout is None or body is None:
        raise ValueError("without format or samples")
    form, channels, rate, _, _, bits = layout
    if not channels or (form, bits) not in ((1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)):
        raise ValueError(f"format {form} of {bits} bits and {channels} channels is not read")
    step = bits // 8
    body = body[: len(body) // (step * channels) * step * channels]
    if form == 3:
        wave = np.frombuffer(body, f"<f{step}").astype(np.float64)
    elif bits == 8:
        wave = np.frombuffer(body, np.uint8) / 128.0 - 1.0
    elif bits == 24:
        three = np.frombuffer(body, np.uint8).reshape(-1, 3).astype(np.int32)
        wave = ((three[:, 0] << 8 | three[:, 1] << 16 | three[:, 2] << 24) >> 8) / 2.0**23
    else:
        wave = np.frombuffer(body, f"<i{step}") / 2.0 ** (bits - 1)
    return wave.reshape(-1, channels), int(rate)


def _others(data: bytes, medium: Medium) -> tuple[np.ndarray, int]:
    try:
        import soundfile  # type: ignore[import-not-found]
    except ImportError:
        raise FeedbackError(
            f"{medium}: not a WAV file; convert it to WAV, or install the package soundfile to read other formats"
        ) from None
    try:
        wave, rate = soundfile.read(io.BytesIO(data), always_2d=True, dtype="float64")
    except (RuntimeError, OSError) as error:
        raise FeedbackError(f"{medium}: cannot be read as audio ({str(error).splitlines()[0]})") from None
    return wave, int(rate)


class Spectrum:
    """Recordings to float32 [n, dim] by the levels of ``bands`` bands."""

    kind, name, cached = "audio", "spectrum", True

    def __init__(self, bands: int = 40) -> None:
        self.bands = bands
        self.spec = f"spectrum:{bands}"
        self.identity: dict[str, Any] = {"encoder": "audio-spectrum", "version": VERSION, "bands": bands}

    @property
    def dim(self) -> int:
        """Three figures a band, and what stands beside them."""
        return 3 * self.bands + BESIDE

    @cached_property
    def edges(self) -> np.ndarray:
        """float64 [bands + 2] hertz: a band rises from one to the next and falls to the one after."""
        low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOWEST, HIGHEST))
        return 700 * (10 ** (np.linspace(low, high, self.bands + 2) / 2595) - 1)

    def batches(self, media: Sequence[tuple[Medium, bytes]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, features) of media, one by one: features do not depend on what else is encoded."""
        for i, (medium, data) in enumerate(media):
            yield np.array([i]), self.features(*open_audio(data, medium))[None]

    def features(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """float32 [dim] of samples [t, channels]."""
        mono = wave.mean(1)
        frames, hz, power = spectrogram(mono, rate)
        rising, falling = (self.edges[:-2], self.edges[1:-1]), (self.edges[1:-1], self.edges[2:])
        up, down = ((hz[:, None] - a) / (b - a) for a, b in (rising, falling))
        weight = np.clip(np.minimum(up, 1 - down), 0, None)  # [frequencies, bands]
        level = decibels(power @ weight) / 20
        third = max(1, frames // 3)
        change = np.abs(np.diff(level, axis=0)).mean(1) if frames > 1 else np.zeros(1)
        loudest = np.log2(np.maximum(hz[power.argmax(1)], LOWEST))
        sounding = power.sum(1) > 1e-4 * max(float(power.sum(1).max()), 1e-12)
        pitch = loudest[sounding] if sounding.any() else loudest
        part = max(1, len(pitch) // 3)
        sides = decibels((wave**2).mean(0))
        beside = [
            np.log(len(mono) / rate),
            float(decibels((mono**2).mean())) / 20,
            (sides[0] - sides[1]) / 20 if len(sides) > 1 else 0.0,
            change.mean(),
            change.max(),
            pitch.mean(),
            pitch[-part:].mean() - pitch[:part].mean(),
            sounding.mean(),
            np.log1p(np.count_nonzero(np.diff(sounding.astype(int), prepend=0) > 0)),
        ]
        slope = level[-third:].mean(0) - level[:third].mean(0)
        return np.concatenate([level.mean(0), level.std(0), slope, beside]).astype(np.float32)


def spectrogram(mono: np.ndarray, rate: int) -> tuple[int, np.ndarray, np.ndarray]:
    """(frames, hertz [f], power [frames, f]) of samples [t]; a full-scale sine has a power of 1/2 in all."""
    width = max(16, round(FRAME * rate))
    if len(mono) < width:
        mono = np.pad(mono, (0, width - len(mono)))
    windows = np.lib.stride_tricks.sliding_window_view(mono, width)[:: max(1, width // 2)]
    shape = np.hanning(width)
    power = np.abs(np.fft.rfft(windows * shape, axis=1)) ** 2 * 2 / (shape**2).sum() / width
    return len(windows), np.fft.rfftfreq(width, 1 / rate), power


def decibels(power: Any) -> np.ndarray:
    """10 log10 of a power, from ``FLOOR`` up, moved so that the floor is 0."""
    return np.maximum(10 * np.log10(np.maximum(power, 1e-30)), FLOOR) - FLOOR
