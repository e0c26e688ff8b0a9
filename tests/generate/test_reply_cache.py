"""The cache of replies: right keys, damage noticed, processes together."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.generate import ReplyCache, Sampling, load_language_model
from guerdon.generate.reply_cache import draw_key, key_stem
from guerdon.testing import MockRequest, MockServer


@given(st.dictionaries(st.text(max_size=4), st.integers(), max_size=4), st.text(max_size=8))
def test_keys_do_not_depend_on_the_order_of_fields(sampling: dict[str, int], text: str) -> None:
    messages = [{"role": "user", "content": text}]
    turned = [dict(reversed(m.items())) for m in messages]
    a = key_stem("m", messages, sampling, None)
    b = key_stem("m", turned, dict(reversed(sampling.items())), None)
    assert a.digest() == b.digest()
    assert draw_key(a, 1) == draw_key(b, 1) != draw_key(a, 2)


def test_everything_asked_is_in_the_key() -> None:
    chat = [{"role": "user", "content": "a"}]
    asked = [
        ("m", chat, {}, None),
        ("n", chat, {}, None),
        ("m", [{"role": "user", "content": "b"}], {}, None),
        ("m", chat, Sampling(temperature=0.0).said, None),
        ("m", chat, Sampling(temperature=1.0).said, None),
        ("m", chat, Sampling(seed=0).said, None),
        ("m", chat, Sampling(stop=("x",)).said, None),
        ("m", chat, Sampling(top_logprobs=5).said, None),
        ("m", chat, Sampling(extra={"x": 1}).said, None),
        ("m", chat, {}, {"type": "object"}),
    ]
    assert len({key_stem(*a).digest() for a in asked}) == len(asked)


def test_replies_survive_and_more_draws_only_add(tmp_path: Path) -> None:
    with MockServer() as server:
        for n, calls in ((2, 1), (2, 1), (5, 2), (3, 2)):
            with load_language_model(server.spec, cache=tmp_path / "c.db") as model:
                replies = model.generate(["a"], n=n, seed=1)
                assert replies.text == [f"reply {1 + d} to a" for d in range(n)]
            assert server.calls == calls


def test_failures_are_not_kept(tmp_path: Path) -> None:
    with MockServer(lasting={"500": 1.0}) as server:
        options = {"cache": tmp_path / "c.db", "retries": 0, "cache_as": "m"}
        model = load_language_model(server.spec, **options)
        assert model.generate(["a"]).status == ["failed"]
        server.lasting = {}
        assert model.generate(["a"]).status == ["answered"]


def test_a_damaged_entry_is_asked_again_and_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.db"
    with MockServer() as server:
        with load_language_model(server.spec, cache=path) as model:
            whole = model.generate(["a", "b", "c"]).text
        with sqlite3.connect(path) as db:
            (raw,) = db.execute("SELECT raw FROM replies LIMIT 1").fetchone()
            db.execute("UPDATE replies SET raw = ? WHERE raw = ?", (raw.replace(b"reply", b"paper"), raw))
        for calls, warned in ((4, True), (4, False)):
            caplog.clear()
            with load_language_model(server.spec, cache=path) as model:
                assert model.generate(["a", "b", "c"]).text == whole
            assert server.calls == calls
            assert ("1 damaged replies are asked again" in caplog.text) == warned


@pytest.mark.parametrize("spoil", ["not a database at all, whatever its name", ""])
def test_a_file_that_is_no_database_is_moved_aside(spoil: str, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_text(spoil * 300)
    with MockServer() as server, load_language_model(server.spec, cache=path) as model:
        assert model.generate(["a"]).text == ["reply 0 to a"]
        assert model.generate(["a"]).cost["cached"] == 1
    assert len(list(tmp_path.glob("*.damaged-*"))) == bool(spoil)


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with MockServer() as server, load_language_model(server.spec, cache=tmp_path / "file" / "c.db") as model:
        assert model.generate(["a"]).text == ["reply 0 to a"]
    assert "cannot be cached" in caplog.text


def test_the_raw_reply_is_kept_so_that_parsing_again_is_free(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "c.db")
    with MockServer(lambda r: '{"verdict": "A"}') as server:
        model = load_language_model(server.spec, cache=cache)
        model.generate(["a"])
        cache.flush()
        with sqlite3.connect(tmp_path / "c.db") as db:
            (raw,) = db.execute("SELECT raw FROM replies").fetchone()
        assert b'"object": "chat.completion"' in raw, "as the server sent it"
    assert len(cache) == 1


def test_the_cache_can_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUERDON_CACHE", "off")
    with MockServer() as server:
        model = load_language_model(server.spec)
        assert model.generate(["a"]).text == model.generate(["a"]).text
        assert server.calls == 2


def test_the_same_model_elsewhere_may_share_its_replies(tmp_path: Path) -> None:
    for shared, calls in ((None, 1), ("org/model", 1), ("org/model", 0)):
        with MockServer() as server, load_language_model(server.spec, cache=tmp_path / "c", cache_as=shared) as model:
            model.generate(["a"])
            assert server.calls == calls


PROCESS = """
import sys
from guerdon.generate import load_language_model
model = load_language_model(sys.argv[1], cache=sys.argv[2], concurrency=8)
texts = model.generate([f"p{i}" for i in range(150)], n=2).text
assert texts == [f"reply {d} to p{i}" for i in range(150) for d in range(2)], texts
"""


def test_processes_share_one_file(tmp_path: Path) -> None:
    seen: list[str] = []

    def reply(request: MockRequest) -> str:
        seen.append(request.text)
        return f"reply {request.draw} to {request.text}"

    with MockServer(reply) as server:
        command = [sys.executable, "-c", PROCESS, server.spec, str(tmp_path / "c.db")]
        both = [subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}) for _ in range(3)]
        assert [p.wait() for p in both] == [0, 0, 0]
        calls = server.calls
        subprocess.run(command, check=True)
        assert server.calls == calls, "all of it is there"
    assert len(ReplyCache(tmp_path / "c.db")) == 300
