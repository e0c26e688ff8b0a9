"""Images, audio and video inside candidates: where they are found, read, and what is said when they cannot be."""

import base64
from pathlib import Path

import pytest

from guerdon.encode.media import MAX_BYTES, Medium, collect, content_key, kind_of, media_in, read, words_of
from guerdon.errors import FeedbackError

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def message(*parts: object) -> list[dict]:
    return [{"role": "user", "content": list(parts)}]


def test_every_way_to_write_a_part_is_understood(tmp_path: Path) -> None:
    inline = base64.b64encode(b"RIFF").decode()
    parts = (
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image_url", "image_url": "b.png"},
        {"type": "image", "image": "c.png"},
        {"type": "image", "path": str(tmp_path / "d.png")},
        {"type": "input_image", "image_url": "e.png"},
        {"type": "input_audio", "input_audio": {"data": inline, "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": "f.wav"}},
        {"type": "video_url", "video_url": {"url": "g.mp4"}},
        {"type": "text", "text": "image_url"},
    )
    found = media_in(message(*parts), "prompt of candidate 3")
    assert [m.kind for m in found] == ["image"] * 5 + ["audio"] * 2 + ["video"]
    assert [m.url for m in found[:3]] == ["a.png", "b.png", "c.png"]
    assert found[5].url == f"data:audio/wav;base64,{inline}"
    assert kind_of({"type": "text", "text": ""}) is None
    assert media_in("a.png") == []


def test_a_part_that_names_nothing_is_an_error() -> None:
    with pytest.raises(FeedbackError, match="prompt of candidate 0: a part of type 'image_url' names no image"):
        media_in(message({"type": "image_url", "image_url": {}}), "prompt of candidate 0")


def test_words_are_left_without_file_names() -> None:
    """What a file is called must not become a feature of the text."""
    shown = message({"type": "image_url", "image_url": {"url": "good_answer.png"}}, {"type": "text", "text": "Which?"})
    assert words_of(shown) == "Which?"
    assert words_of(message({"type": "image_url", "image_url": {"url": "x.png"}})) == ""
    two = [*shown, {"role": "assistant", "content": "This."}]
    assert words_of(two) == [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This."}]
    call = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]
    assert words_of(call) == call, "tool calls are kept"


def medium(url: str, kind: str = "image") -> Medium:
    return Medium(kind, url, "prompt of candidate 7")


def test_bytes_come_from_a_path_a_file_url_or_the_part_itself(tmp_path: Path) -> None:
    path = tmp_path / "a b.png"
    path.write_bytes(PIXEL)
    inline = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    assert read(medium(str(path))) == read(medium(path.as_uri())) == read(medium(inline)) == PIXEL


def test_what_cannot_be_read_is_one_line_that_says_where_and_how_to_mend(tmp_path: Path) -> None:
    empty, large = tmp_path / "empty.png", tmp_path / "large.png"
    empty.write_bytes(b"")
    large.write_bytes(b"x" * 2000)
    cases = {
        str(tmp_path / "gone.png"): "no such file; mend the path",
        str(tmp_path): "Is a directory",
        str(empty): "it is empty",
        "https://example.org/a.png": "nothing is fetched; download it and give its path",
        "data:image/png;base64,@@@": "not a data URL",
        "data:image/png": "not a data URL",
    }
    for url, said in cases.items():
        with pytest.raises(FeedbackError, match=said) as raised:
            read(medium(url))
        assert str(raised.value).startswith("prompt of candidate 7: image ")
        assert "\n" not in str(raised.value)
    with pytest.raises(FeedbackError, match=r"0\.0 MiB, at most 0\.00\d+ are read"):
        read(medium(str(large)), limit=1000)
    assert len(str(medium("data:image/png;base64," + "A" * 10_000))) < 200, "the bytes of an image are no message"
    assert MAX_BYTES >= 20 * 2**20


def test_equal_bytes_are_one_medium_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(PIXEL)
    (tmp_path / "c.png").write_bytes(PIXEL + b"\0")
    a, b, c = (medium(str(tmp_path / f"{name}.png")) for name in "abc")
    found = collect(iter([[a, b], [], [c, a]]))
    assert found.places == [[0, 0], [], [1, 0]]
    assert found.media == [a, c]
    assert found.keys == [content_key(PIXEL), content_key(PIXEL + b"\0")]
