"""Spectra of recordings: what changes with pitch, loudness, length and sides, and how WAV files are read."""

import io
import struct
import wave
from typing import Any

import numpy as np
import pytest

from guerdon.encode.audio import BESIDE, MAX_SECONDS, Spectrum, open_audio, spectrogram
from guerdon.encode.media import Medium
from guerdon.errors import FeedbackError
from guerdon.worlds.tones import RATE, Tone, sound, wav

HERE = Medium("audio", "a.wav", "response of candidate 2")
BANDS = 40


def features(**how: Any) -> np.ndarray:
    return Spectrum(BANDS).features(sound(Tone(**how), np.random.default_rng(0)), RATE)


def beside(**how: Any) -> dict[str, float]:
    names = ("length", "level", "side", "change", "largest change", "pitch", "glide", "sounding", "bursts")
    return dict(zip(names, features(**how)[-BESIDE:].tolist(), strict=True))


def written(samples: np.ndarray, width: int, rate: int = 8000) -> bytes:
    """A WAV file of the standard library's, samples [t, channels] in [-1, 1]."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        whole = np.rint(samples * (2 ** (8 * width - 1) - 1)).astype(np.int64)
        if width == 1:
            data = (whole + 128).astype(np.uint8).tobytes()
        else:
            data = b"".join(int(v).to_bytes(width, "little", signed=True) for v in whole.ravel())
        file.writeframes(data)
    return out.getvalue()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_files_of_every_width_hold_what_was_written(width: int, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (500, channels))
    read, rate = open_audio(written(samples, width, 11025), HERE)
    assert rate == 11025
    assert read == pytest.approx(samples, abs=2.5 / 2 ** (8 * width - 1))


def test_wav_files_of_floats_and_with_other_chunks_are_read() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype("<f4")
    layout = struct.pack("<HHIIHH", 3, 2, 8000, 64000, 8, 32)
    note = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    body = b"WAVE" + b"fmt " + struct.pack("<I", 16) + layout + note + b"data" + struct.pack("<I", samples.nbytes)
    data = b"RIFF" + struct.pack("<I", len(body) + samples.nbytes) + body + samples.tobytes()
    read, _ = open_audio(data, HERE)
    assert np.array_equal(read, samples.astype(float))


def test_broken_recordings_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = wav(sound(Tone(), np.random.default_rng(0)))
    cases = {
        whole[:1000]: "damaged WAV file .* are there",
        whole[:20]: "damaged WAV file",
        wav(np.zeros((0, 2))): "holds no sound",
        b"OggS" + whole: "convert it to WAV, or install the package soundfile",
    }
    for data, said in cases.items():
        with pytest.raises(FeedbackError, match=rf"^response of candidate 2: audio a\.wav: .*{said}") as raised:
            open_audio(data, HERE)
        assert "\n" not in str(raised.value)
    monkeypatch.setattr("guerdon.encode.audio.MAX_SECONDS", 0.1)
    with pytest.raises(FeedbackError, match=r"lasts 0 s, at most 0\.1 are read; cut it"):
        open_audio(whole, HERE)
    assert MAX_SECONDS >= 60


def test_a_full_sine_has_half_the_power_at_its_frequency() -> None:
    at = np.arange(8000) / 8000
    _, hz, power = spectrogram(np.sin(2 * np.pi * 1000 * at), 8000)
    assert power.sum(1).mean() == pytest.approx(0.5, rel=0.01)
    assert hz[power.mean(0).argmax()] == 1000


def test_figures_beside_the_bands_say_what_they_are_called() -> None:
    plain = beside()
    assert beside(seconds=1.0)["length"] - plain["length"] == pytest.approx(np.log(2), abs=0.01)
    assert beside(level=-6.0)["level"] - plain["level"] == pytest.approx(6 / 20, abs=0.03)
    assert beside(pitch=880.0)["pitch"] - plain["pitch"] == pytest.approx(1, abs=0.1)
    assert beside(glide=1.0)["glide"] > 0.4 > abs(plain["glide"]) + 0.3 > beside(glide=-1.0)["glide"]
    assert beside(side=-0.8)["side"] > 0.3 > -0.3 > beside(side=0.8)["side"]
    assert round(float(np.expm1(beside(beeps=4, seconds=2.0)["bursts"]))) == 4
    assert round(float(np.expm1(plain["bursts"]))) == 1


def test_the_sampling_rate_hardly_matters() -> None:
    at = [np.arange(rate) / rate for rate in (16000, 32000)]
    low, high = (Spectrum(BANDS).features(0.3 * np.sin(2 * np.pi * 500 * t)[:, None], len(t)) for t in at)
    strong = low[:BANDS] > 2.0  # forty decibels above the floor: what can be heard
    assert strong.any()
    assert np.abs(low[:BANDS] - high[:BANDS])[strong].max() < 0.15


def test_silence_and_one_sample_have_features() -> None:
    for samples in (np.zeros((8000, 1)), np.ones((1, 1)), np.zeros((1, 2))):
        found = Spectrum(BANDS).features(samples, 8000)
        assert np.isfinite(found).all()
        assert found.shape == (3 * BANDS + BESIDE,)
