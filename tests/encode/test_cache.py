"""The feature cache: bit for bit, safe beside others, never serving what is damaged."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from guerdon.encode import cache as room
from guerdon.encode import cache_report, cache_root, clear_cache
from guerdon.encode.cache import FeatureCache, key_of, open_cache
from guerdon.encode.shards import Shard, write_shard
from guerdon.errors import ConfigError

D = 7


def keys_of(names: range | list[int]) -> np.ndarray:
    return np.frombuffer(b"".join(key_of(f"text {i}") for i in names), np.uint8).reshape(-1, 16)


def rows_of(names: range | list[int], d: int = D) -> np.ndarray:
    return np.stack([np.random.default_rng(i).standard_normal(d) for i in names]).astype(np.float32)


def fresh(cache: Path) -> FeatureCache:
    """A cache object that knows nothing yet, as another process would have."""
    return FeatureCache(cache / "features" / "x", D)


def fill(cache: Path, *parts: range) -> list[Path]:
    for part in parts:
        store = fresh(cache)
        store.add(keys_of(part), rows_of(part))
        store.flush()
    return sorted((cache / "features" / "x").glob("*.shard"))


def test_what_goes_in_comes_out_bit_for_bit(cache: Path):
    fill(cache, range(50), range(50, 90))
    rows, found = fresh(cache).lookup(keys_of([3, 77, 1000, 3]))
    assert found.tolist() == [True, True, False, True]
    assert rows[[0, 1, 3]].tobytes() == rows_of([3, 77, 3]).tobytes()
    assert not rows[2].any()
    assert fresh(cache).lookup(keys_of([])[:0])[0].shape == (0, D)


@pytest.mark.parametrize("at", ["row", "key", "checksum", "header", "cut", "empty", "longer"])
def test_damage_is_found_and_only_the_damaged_is_lost(cache: Path, at: str, caplog: pytest.LogCaptureFixture):
    path, other = fill(cache, range(20), range(20, 40))
    data = bytearray(path.read_bytes())
    where = {"header": 9, "key": 32 + 5 * 16 + 3, "checksum": 32 + 20 * 16 + 5, "row": len(data) - 4 * D * 15 + 2}
    if at in where:
        data[where[at]] ^= 0x10
    path.write_bytes({"cut": data[:-3], "empty": b"", "longer": data + b"\0" * 28}.get(at, data))
    with caplog.at_level(logging.WARNING):
        rows, found = fresh(cache).lookup(keys_of(range(40)))
    assert found[20:].all()
    assert found[:20].sum() == (19 if at == "row" else 0)
    assert not found[5] or at != "row" or rows[5].tobytes() == rows_of([5]).tobytes()
    assert rows[found].tobytes() == rows_of([i for i in range(40) if found[i]]).tobytes()
    assert "damaged" in caplog.text
    assert not path.exists(), "the damaged file is gone, its good rows are in a new one"
    assert other.exists()
    again, found_again = fresh(cache).lookup(keys_of(range(40)))
    assert np.array_equal(found, found_again)
    assert again.tobytes() == rows.tobytes()


def test_every_flipped_bit_of_a_row_is_noticed(tmp_path: Path):
    path = write_shard(tmp_path, keys_of(range(2)), rows_of(range(2)))
    data = path.read_bytes()
    for bit in range(8 * 4 * D):
        broken = bytearray(data)
        broken[len(data) - 4 * D + bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        assert Shard(path, D).read(np.arange(2))[1].tolist() == [True, False]


def test_a_row_is_never_served_under_another_key(cache: Path):
    """Two texts may share the half of the key that the index sorts by."""
    keys = keys_of(range(2)).copy()
    keys[1, :8] = keys[0, :8]
    store = fresh(cache)
    store.add(keys[:1], rows_of([0]))
    store.flush()
    assert store.lookup(keys)[1].tolist() == [True, False]


def test_small_shards_are_merged_and_nothing_is_lost(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "MANY", 8)
    store = fresh(cache)
    for i in range(60):
        store.add(keys_of([i]), rows_of([i]))
        store.flush()
        assert store.lookup(keys_of(range(i + 1)))[1].all()
    assert len(list((cache / "features" / "x").glob("*"))) <= 10
    rows, found = fresh(cache).lookup(keys_of(range(60)))
    assert found.all()
    assert rows.tobytes() == rows_of(range(60)).tobytes()


def test_full_shards_are_not_merged_again(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "FULL", 4 * D * 40)
    monkeypatch.setattr(room, "MANY", 2)
    store = fresh(cache)
    for lo in range(0, 100, 4):
        store.add(keys_of(range(lo, lo + 4)), rows_of(range(lo, lo + 4)))
        store.flush()
    rows, found = store.lookup(keys_of(range(100)))
    assert found.all()
    assert rows.tobytes() == rows_of(range(100)).tobytes()
    sizes = sorted(len(Shard(p, D)) for p in (cache / "features" / "x").glob("*.shard"))
    assert sum(sizes) == 100
    assert sizes[-1] >= 10


def test_a_reader_follows_a_writer_that_merges(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "MANY", 3)
    reader, writer = fresh(cache), fresh(cache)
    for i in range(40):
        writer.add(keys_of([i]), rows_of([i]))
        writer.flush()
        rows, found = reader.lookup(keys_of(range(i + 1)))
        assert found.all()
        assert rows.tobytes() == rows_of(range(i + 1)).tobytes()


WORKER = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_cache as t
from guerdon.encode import cache as room
room.MANY = 4
store = t.fresh(Path(sys.argv[2]))
for lo in range(0, 300, 5):
    keys = t.keys_of(range(lo, lo + 5))
    rows, found = store.lookup(keys)
    assert rows[found].tobytes() == t.rows_of(range(lo, lo + 5))[found].tobytes()
    store.add(keys[~found], t.rows_of(range(lo, lo + 5))[~found])
    store.flush()
assert store.lookup(t.keys_of(range(300)))[1].all()
"""


def test_several_processes_at_once(cache: Path):
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(cache)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors
        assert "damaged" not in errors
        assert "Traceback" not in errors
    rows, found = fresh(cache).lookup(keys_of(range(300)))
    assert found.all()
    assert rows.tobytes() == rows_of(range(300)).tobytes()
    assert not list(cache.rglob("*.part"))


def test_added_rows_are_written_by_the_clock(cache: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    store = fresh(cache)
    store.begin()
    store.add(keys_of([0]), rows_of([0]))
    assert not fresh(cache).lookup(keys_of([0]))[1].any()
    now[0] += 6
    store.add(keys_of([1]), rows_of([1]))
    assert fresh(cache).lookup(keys_of([0, 1]))[1].all()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_a_place_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    store = FeatureCache(blocked / "features", D)
    with caplog.at_level(logging.WARNING):
        for i in range(3):
            store.add(keys_of([i]), rows_of([i]))
            store.flush()
    assert caplog.text.count("cannot be cached") == 1
    assert "GUERDON_CACHE" in caplog.text


def test_place_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"
    for off in ("off", "OFF", "0"):
        monkeypatch.setenv("GUERDON_CACHE", off)
        assert cache_root() is None
        assert open_cache("x", D) is None
        assert cache_report() == []
        assert clear_cache() == 0
    monkeypatch.delenv("GUERDON_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "guerdon"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "guerdon"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_root() == tmp_path / "Library" / "Caches" / "guerdon"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_root() == tmp_path / "local" / "guerdon"


def test_report_and_clear(cache: Path):
    for name, n in (("small", 3), ("large", 30)):
        store = open_cache(name, D, {"spec": name + "?"})
        assert store is not None
        store.add(keys_of(range(n)), rows_of(range(n)))
        store.flush()
    report = cache_report()
    assert [(e["fingerprint"], e["rows"], e["spec"], e["features"]) for e in report] == [
        ("large", 30, "large?", D),
        ("small", 3, "small?", D),
    ]
    assert report[0]["bytes"] == sum(p.stat().st_size for p in cache.rglob("*.shard") if "large" in str(p))
    with pytest.raises(ConfigError, match="no 'medium'"):
        clear_cache(["medium"])
    assert clear_cache(["small"]) == report[1]["bytes"]
    assert [e["fingerprint"] for e in cache_report()] == ["large"]
    store = open_cache("large", D)
    assert store is not None
    clear_cache()
    assert not store.lookup(keys_of([0]))[1].any(), "an open cache notices that it was cleared"
    store.add(keys_of([0]), rows_of([0]))
    store.flush()
    assert store.lookup(keys_of([0]))[1].all()
