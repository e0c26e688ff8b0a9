"""Texts and media side by side: blocks, flags, the cache by content, and what has no encoder."""

from pathlib import Path

import numpy as np
import pytest

from guerdon.encode import Encoder, load_encoder
from guerdon.encode.image import ImageFilters, open_image, pixels
from guerdon.encode.joined import JoinedEncoder
from guerdon.encode.media import Medium
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.worlds.scenes import draw, image_part, png, scene, shown
from guerdon.worlds.tones import Tone, audio_part, sound, wav

SPEC = "media?text=hash:32&image=filters:1&audio=spectrum:8"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three pictures and a tone."""
    for i in range(3):
        rng = np.random.default_rng(i)
        (tmp_path / f"{i}.png").write_bytes(png(draw(scene(rng), rng)))
    (tmp_path / "tone.wav").write_bytes(wav(sound(Tone(), np.random.default_rng(0))))
    return tmp_path


def joined(spec: str = SPEC) -> JoinedEncoder:
    encoder = load_encoder(spec)
    assert isinstance(encoder, JoinedEncoder)
    assert isinstance(encoder, Encoder)
    return encoder


def mixed(place: Path) -> Candidates:
    tone = [{"role": "assistant", "content": [audio_part(place / "tone.wav")]}]
    two = [{"role": "user", "content": [image_part(place / "0.png"), image_part(place / "1.png")]}]
    return Candidates(
        [shown(place / "0.png", "What is it?"), "Play.", two, "Say something."],
        ["A ring.", tone, shown(place / "2.png", role="assistant"), "Well."],
    )


def test_each_block_is_what_its_encoder_gives(place: Path) -> None:
    encoder = joined()
    x, at = encoder.encode(mixed(place)), encoder.blocks()
    assert x.shape == (4, encoder.dim)
    assert x.dtype == np.float32
    filters = ImageFilters(1)
    pictures = [
        filters.features(pixels(open_image((place / f"{i}.png").read_bytes(), Medium("image", "", ""))))
        for i in range(3)
    ]
    prompt, answer = x[:, at["image, prompt"]], x[:, at["image, response"]]
    assert prompt[0].tolist() == [*pictures[0].tolist(), 1.0]
    assert prompt[2, :-1] == pytest.approx((pictures[0] + pictures[1]) / 2, abs=1e-6)
    assert answer[2].tolist() == [*pictures[2].tolist(), 1.0]
    words = load_encoder("hash:32").encode(Candidates(["", ""], ["A ring.", "Well."]))
    text = x[:, at["text"]]
    assert np.array_equal(text[[0, 3], :-1], words)
    assert text[:, -1].tolist() == [1.0, 0.0, 0.0, 1.0], "only the response's words are read by hash:32"
    for name, there in {"audio, response": [1], "audio, prompt": [], "image, prompt": [0, 2]}.items():
        absent = np.setdiff1d(np.arange(4), there)
        assert not x[absent][:, at[name]].any(), "a block without a medium is zero"
        assert (x[there][:, at[name]][:, -1] == 1).all()


def test_flags_name_the_column_that_says_whether_a_feature_is_there(place: Path) -> None:
    encoder = joined()
    flags = encoder.flags
    assert len(flags) == encoder.dim
    for block in encoder.blocks().values():
        assert set(flags[block]) == {block.stop - 1}
    questions = joined("media?text=hash:32&features=prompt&image=filters:1")
    candidates = Candidates(["Draw a ring.", ""], [shown(place / "0.png", role="assistant")] * 2)
    x = questions.encode(candidates)
    assert x[:, questions.blocks()["text"].stop - 1].tolist() == [1.0, 0.0], "here the prompt's words are read"


def test_media_are_cached_by_content_not_by_path(place: Path) -> None:
    copy = place / "copy.png"
    copy.write_bytes((place / "0.png").read_bytes())
    first = joined()
    x = first.encode(Candidates([shown(place / "0.png")], ["yes"]))
    assert first.computed == 1
    second = joined()
    inline = shown((place / "0.png").read_bytes())
    again = second.encode(Candidates([shown(copy), inline], ["yes", "yes"]))
    assert second.computed == 0, "the same bytes elsewhere are known"
    assert again[0].tobytes() == again[1].tobytes() == x[0].tobytes()
    copy.write_bytes((place / "1.png").read_bytes())
    changed = second.encode(Candidates([shown(copy)], ["yes"]))
    assert second.computed == 1, "a file that changed under its name is looked at again"
    assert not np.array_equal(changed[0], x[0])
    off = joined(SPEC + "&cache=off")
    assert off.encode(Candidates([shown(place / "0.png")], ["yes"])).tobytes() == x.tobytes()
    assert off.computed == 1


def test_fingerprints_name_what_computes(place: Path) -> None:
    specs = (SPEC, SPEC.replace("filters:1", "filters:2"), SPEC.replace("spectrum:8", "spectrum:9"),
             SPEC.replace("hash:32", "hash:33"), SPEC + "&features=both")  # fmt: skip
    names = [joined(spec).fingerprint for spec in specs]
    assert len(set(names)) == len(names)
    for spec in (*specs, SPEC + "&cache=off", "image:filters", "audio:spectrum:4"):
        encoder = joined(spec)
        assert joined(encoder.spec).fingerprint == encoder.fingerprint, "what is stored opens the same again"


def test_a_medium_without_an_encoder_is_named_with_those_there_are(place: Path) -> None:
    video = [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "a.mp4"}}]}]
    with pytest.raises(FeedbackError, match=r"prompt of candidate 1: video a\.mp4: no encoder for video") as raised:
        joined().encode(Candidates(["Hello.", video], ["a", "b"]))
    assert "installed encoders of media: image (filters, hf), audio (spectrum, hf)" in str(raised.value)
    tone = [{"role": "assistant", "content": [audio_part(place / "tone.wav")]}]
    with pytest.raises(FeedbackError, match=r"response of candidate 0: audio .*add audio=spectrum\|hf") as raised:
        joined("media?text=hash:32&image=filters").encode(Candidates(["Play."], [tone]))
    assert "reads text, image" in str(raised.value)


def test_specifications_that_make_no_sense_say_so() -> None:
    cases = {
        "media?text=none": "reads nothing; give text= or one of: image",
        "media?text=none&image=pixels": r"image=pixels: no such encoder; installed are image \(filters, hf\)",
        "media?image=filters:99": "whole number from 1 to 8",
        "media?audio=spectrum:x": "whole number from 1 to 256",
        "media:filters": "media takes no name",
        "media?video=frames": "has no option 'video'",
        "media?text=media": "an encoder of texts",
        "image:nothing": "no such encoder",
    }
    for spec, said in cases.items():
        with pytest.raises(ConfigError, match=said) as raised:
            load_encoder(spec)
        assert "\n" not in str(raised.value)


def test_a_missing_picture_is_named_with_its_candidate(place: Path) -> None:
    with pytest.raises(FeedbackError, match=r"prompt of candidate 1: image gone\.png: no such file"):
        joined().encode(Candidates([shown(place / "0.png"), shown(Path("gone.png"))], ["a", "b"]))


def test_nothing_to_encode_is_an_empty_table() -> None:
    encoder = joined()
    assert encoder.encode(Candidates([], [])).shape == (0, encoder.dim)
