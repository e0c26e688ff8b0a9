"""Images in messages: checked, known by content, sent as they should be, and paid for honestly."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from guerdon.encode import media
from guerdon.errors import BackendError, ConfigError, FeedbackError
from guerdon.feedback.messages import as_pieces, as_text, image_of
from guerdon.generate import ServerModel, load_language_model, pictures
from guerdon.generate.budget import Budget
from guerdon.generate.pictures import open_picture, png
from guerdon.generate.reply_cache import draw_key, key_stem
from guerdon.testing import MockServer
from guerdon.testing.mock_server import MockRequest
from image_judge import COLOURS, colour_of, square


def image(source: str | Path, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": str(source), **more}}


def data_url(raw: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"


def asked(*parts: Any) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(square(COLOURS["red"]))
    return path


def seen(request: MockRequest) -> str:
    return " ".join(colour_of(pixels) or "nothing" for pixels in request.images)


# ------------------------------------------------------------------------------------------------ pieces


def test_pieces_are_the_text_with_the_images_themselves_where_it_names_them(red: Path) -> None:
    call = [{"type": "function", "function": {"name": "look", "arguments": "{}"}}]
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [image(red), {"type": "text", "text": "and"}, {"type": "image", "path": "b.png"}]},
        {"role": "assistant", "content": None, "tool_calls": call},
        {"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": "a"}}, {"type": "text", "text": "?"}]},
    ]  # fmt: skip
    pieces = as_pieces(chat)
    assert [image_of(p) for p in pieces if not isinstance(p, str)] == [str(red), "b.png"]
    named = iter([f"[image_url: {red}]", "[image: ]"])  # as_text knows no path of an image part
    assert "".join(p if isinstance(p, str) else next(named) for p in pieces) == as_text(chat)
    for same in ("plain", [{"role": "user", "content": "one"}], [], chat[2:], [{"role": "user", "content": []}]):
        assert "".join(as_pieces(same)) == as_text(same)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ({"type": "image_url", "image_url": "a.png"}, "a.png"),
        ({"type": "input_image", "image_url": "a.png"}, "a.png"),
        ({"type": "image", "url": "http://x/a.png"}, "http://x/a.png"),
        ({"type": "image_url"}, ""),
        ({"type": "text", "text": "image_url"}, None),
        ("image_url", None),
    ],
)
def test_image_parts_in_the_usual_spellings(part: Any, source: str | None) -> None:
    assert image_of(part) == source


# ------------------------------------------------------------------------------------------------ opening


def test_an_image_is_its_content_wherever_it_lies(tmp_path: Path, red: Path) -> None:
    raw = red.read_bytes()
    copy = tmp_path / "a copy.png"
    copy.write_bytes(raw)
    found = [open_picture(str(p)) for p in (red, copy, copy.as_uri(), data_url(raw), data_url(raw, "image/jpeg"))]
    assert len({p.digest for p in found}) == 1
    assert {p.kind for p in found} == {"image/png"}  # by its bytes, not by what somebody wrote
    assert {p.url() for p in found} == {data_url(raw)}
    assert {p.size for p in found} == {len(raw)}
    red.write_bytes(square(COLOURS["blue"]))
    os.utime(red, ns=(1, 1))
    assert open_picture(str(red)).digest != found[0].digest


def test_a_file_that_changes_while_it_is_in_use_is_not_sent_as_another(red: Path) -> None:
    red.write_bytes(square(COLOURS["red"], seed=77))
    found = open_picture(str(red))
    red.write_bytes(square(COLOURS["blue"], seed=77))
    with pytest.raises(FeedbackError, match=r"red\.png: the file changed while it was in use"):
        found.url()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no such file; mend the path"),
        (b"", "it is empty"),
        (b"%PDF-1.7", "no image; use PNG"),
        (b"BM" + bytes(99), "no image; use PNG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(3000), r"0\.0 MiB, at most .* make it smaller"),
    ],
)
def test_a_bad_file_is_one_line_with_row_and_name(
    tmp_path: Path, content: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LIMIT", 2000)
    path = tmp_path / "it.png"
    if content is not None:
        path.write_bytes(content)
    model = ServerModel("http://127.0.0.1:9/v1", "m", cache="off", sees="image")
    with pytest.raises(FeedbackError, match=rf"^prompts\[1\]\[0\]: image .*it\.png: .*{message}") as error:
        model.generate(["fine", asked("look", image(path))])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("data:image/png;base64,!!!", "not a data URL"),
        ("data:image/svg+xml,<svg/>", "no image; use PNG"),
        (data_url(b"hello"), "no image"),
        ("", "image without a source: "),
    ],
)
def test_bad_sources_are_said(source: str, message: str) -> None:
    with pytest.raises(FeedbackError, match=message):
        open_picture(source, "row 3")


# ------------------------------------------------------------------------------------------------ requests and cache


def test_images_arrive_in_their_places_and_order(tmp_path: Path) -> None:
    for name in ("red", "blue", "green"):
        (tmp_path / name).write_bytes(square(COLOURS[name]))
    bodies: list[Any] = []

    def reply(request: MockRequest) -> str:
        bodies.append(request.body)
        return seen(request)

    prompt = asked(
        "one", image(tmp_path / "red", detail="low"), "two", image(tmp_path / "blue"), image(tmp_path / "red")
    )
    with MockServer(reply) as server, ServerModel(server.url, server.model, cache="off") as model:
        assert model.generate([prompt]).text == ["red blue red"]
        web = asked(image("https://example.org/a.png"), image(tmp_path / "green"))
        assert model.generate([web]).text == ["nothing green"]
    first, second = (body["messages"][0]["content"] for body in bodies)
    assert [part["type"] for part in first] == ["text", "image_url", "text", "image_url", "image_url"]
    assert first[1]["image_url"] == {"url": data_url(square(COLOURS["red"])), "detail": "low"}
    assert second[0] == image("https://example.org/a.png")  # passed on for the server to fetch
    assert prompt[0]["content"][1] == image(tmp_path / "red", detail="low")  # what was given is left alone


def test_the_cache_knows_images_by_content_and_not_by_path(tmp_path: Path, red: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(red.read_bytes())
    file = tmp_path / "replies.sqlite3"
    with MockServer(seen) as server:

        def ask(*sources: Any) -> Any:
            with ServerModel(server.url, server.model, cache=file, cache_as="m") as model:
                return model.generate([asked("colour?", image(s)) for s in sources])

        assert ask(red).text == ["red"]
        assert ask(copy, data_url(red.read_bytes())).text == ["red", "red"]
        assert server.calls == 1
        red.write_bytes(square(COLOURS["blue"]))
        os.utime(red, ns=(1, 1))
        again = ask(red, copy)
        assert again.text == ["blue", "red"]
        assert [r.cached for r in again.rows] == [False, True]
        assert again.cost["calls"] == 1
        assert server.calls == 2


def test_keys_of_texts_are_what_they_were() -> None:
    said = {"temperature": 0.0}
    stem = key_stem("http://h/v1#m", [{"role": "user", "content": "hi"}], said, None)
    assert draw_key(stem, 0).hex() == "08f873c8f954e1cfab500fb0ac964ee3"


def test_a_shared_image_is_read_and_encoded_once(red: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    encoded: list[int] = []
    read, make = media.read, pictures._data_url
    monkeypatch.setattr(media, "read", lambda medium, limit: (reads.append(medium.url), read(medium, limit))[1])
    monkeypatch.setattr(pictures, "_data_url", lambda kind, raw: (encoded.append(len(raw)), make(kind, raw))[1])
    red.write_bytes(square(COLOURS["red"], seed=4711))
    with MockServer(seen) as server, ServerModel(server.url, server.model, cache="off", concurrency=1) as model:
        assert set(model.generate([asked(f"question {i}", image(red)) for i in range(20)]).text) == {"red"}
    assert len(reads) == 2  # to know it, and to send it
    assert len(encoded) == 1


def test_encoded_images_are_kept_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = pictures._Encoded()
    monkeypatch.setattr(pictures, "_encoded", held)
    monkeypatch.setattr(pictures, "KEPT", 1000)
    for seed in range(20):
        (tmp_path / f"{seed}.png").write_bytes(square(COLOURS["red"], seed))
        open_picture(str(tmp_path / f"{seed}.png")).url()
    assert sum(map(len, held._urls.values())) == held._held <= 1000
    assert 1 <= len(held._urls) < 20


def test_a_schema_that_is_written_out_comes_after_the_image_in_the_same_message(red: Path) -> None:
    def reply(request: MockRequest) -> str:
        return '{"colour": "' + seen(request) + '"}' if "JSON schema" in request.text else "no"

    schema = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
    with MockServer(reply, ways=()) as server, ServerModel(server.url, server.model, cache="off") as model:
        found = model.generate([asked(image(red), "which?")], schema=schema)
    assert found.parsed == [{"colour": "red"}]
    assert len(found) == 1


# ------------------------------------------------------------------------------------------------ costs and refusals


def test_the_bill_counts_images_and_no_base64(tmp_path: Path, red: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(png([[(i * 7 % 256, j * 5 % 256, (i * j) % 256) for i in range(256)] for j in range(256)]))
    assert large.stat().st_size > 40_000
    with MockServer(seen, usage=False) as server:
        budget = Budget(tokens=5_000)  # far less than the base64 would be, if it were text
        with ServerModel(server.url, server.model, cache="off", budget=budget) as model:
            found = model.generate([asked("?", image(large)), asked("?", image(red))], max_tokens=8)
        assert found.status == ["answered", "answered"]
        assert found.cost["images"] == 2
        assert found.cost["image_bytes"] == large.stat().st_size + red.stat().st_size
        assert found.cost["estimated"] == 2
        assert 2 * pictures.IMAGE_TOKENS <= found.cost["prompt_tokens"] < 2 * pictures.IMAGE_TOKENS + 200
        with ServerModel(server.url, server.model, cache="off") as model:
            assert not {"images", "image_bytes"} & set(model.generate(["text"]).cost)
    with MockServer(seen) as server, ServerModel(server.url, server.model, cache="off") as model:
        assert model.generate([asked("a b c", image(red))]).cost["prompt_tokens"] == 3 + 85  # the server's own count


def test_a_server_without_eyes_is_said_in_one_line_before_the_run(red: Path) -> None:
    with MockServer(images=False) as server, ServerModel(server.url, server.model, cache="off") as model:
        assert model.generate(["text"]).status == ["answered"]
        with pytest.raises(BackendError, match=r"mock takes no images \(HTTP 400: .*\); serve a vision model") as error:
            model.generate([asked("?", image(red))] * 3)
        assert "\n" not in str(error.value)


def test_a_server_that_calls_it_an_error_of_its_own_is_understood(red: Path) -> None:
    class LlamaCpp(MockServer):
        def _error(self, status: int, message: str, headers: Any = None) -> Any:
            return super()._error(500 if "image" in message else status, message, headers)

    with LlamaCpp(images=False) as server, ServerModel(server.url, server.model, cache="off", first_wait=0) as model:
        with pytest.raises(BackendError, match=r"takes no images \(HTTP 500: .*image"):
            model.generate([asked("?", image(red))])
        assert server.calls == 3


def test_one_bad_request_is_no_reason_to_think_a_server_blind(red: Path) -> None:
    with MockServer(seen, lasting={"400": 0.5}, seed=4) as server:
        prompts = [asked(f"question {i}", image(red)) for i in range(12)]
        with ServerModel(server.url, server.model, cache="off", retries=0) as model:
            found = model.generate(prompts)
    assert 0 < sum(s == "answered" for s in found.status) < 12
    assert set(found.status) == {"answered", "failed"}


@pytest.mark.parametrize("sees", ["video", "image,audio", ["image", "sound"]])
def test_what_a_server_can_be_said_to_see(sees: Any) -> None:
    with pytest.raises(ConfigError, match="use image, or none"):
        ServerModel("http://127.0.0.1:9/v1", "m", cache="off", sees=sees)
    assert load_language_model("http://127.0.0.1:9/v1#m", sees="image").sees == ("image",)
    assert load_language_model("http://127.0.0.1:9/v1#m", sees="none").sees == ()
    assert load_language_model("http://127.0.0.1:9/v1#m").sees == ()
