"""Synthesized tones whose pitch, loudness, length and timbre are known, as WAV files and audio parts."""

from __future__ import annotations

import base64
import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guerdon.feedback.messages import Message

RATE = 8000


@dataclass(frozen=True)
class Tone:
    """Beeps in a row.

    pitch     hertz of the first moment, ``glide`` octaves higher at the end
    level     decibels of both channels together against full scale, negative
    seconds   how long in all
    beeps     how many, with pauses between
    timbre    0 a sine .. 1 rich in overtones
    noise     0 no hiss .. 1 nothing else
    side      -1 left .. 1 right
    tremble   how often a second its loudness swells
    """

    pitch: float = 440.0
    level: float = -12.0
    seconds: float = 0.5
    beeps: int = 1
    timbre: float = 0.3
    noise: float = 0.05
    glide: float = 0.0
    side: float = 0.0
    tremble: float = 0.0


def sound(tone: Tone, rng: np.random.Generator) -> np.ndarray:
    """float64 [t, 2] samples in [-1, 1] at ``RATE`` a second."""
    n = max(64, round(RATE * tone.seconds))
    at = np.arange(n) / n
    turns = np.cumsum(tone.pitch * 2 ** (tone.glide * at)) / RATE + rng.random()
    overtones = [(1.0, 1), *((tone.timbre / k**0.5, k) for k in (2, 3, 4, 5))]
    audible = [(a, k) for a, k in overtones if k * tone.pitch * 2 ** max(tone.glide, 0) < RATE / 2]
    mono = sum(a * np.sin(2 * np.pi * k * turns) for a, k in audible) / np.sqrt(sum(a * a for a, _ in audible))
    mono = np.sqrt(1 - tone.noise) * mono + np.sqrt(2 * tone.noise) * rng.standard_normal(n)
    # each beep takes three quarters of its share of the time, and begins and ends softly
    inside = (at * tone.beeps) % 1.0
    gate = np.clip(np.minimum(inside, 0.75 - inside) / 0.05, 0, 1) if tone.beeps > 1 else np.ones(n)
    swell = 1 - 0.4 * (1 - np.cos(2 * np.pi * tone.tremble * at * tone.seconds)) / 2 if tone.tremble else 1.0
    mono = mono * gate * swell * 10 ** (tone.level / 20) / np.sqrt(2)
    return np.clip(mono[:, None] * np.sqrt([1 - tone.side, 1 + tone.side]), -1, 1)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    """Samples [t, channels] in [-1, 1] as the bytes of a WAV file of 16 bits."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(32767 * np.clip(samples, -1, 1)).astype("<i2").tobytes())
    return out.getvalue()


def audio_part(recording: Path | bytes) -> Message:
    """The content part that plays a recording: by its path, or with its bytes inside."""
    if isinstance(recording, bytes):
        return {"type": "input_audio", "input_audio": {"data": base64.b64encode(recording).decode(), "format": "wav"}}
    return {"type": "audio_url", "audio_url": {"url": str(recording)}}
