"""Encoding candidates and feedback: each text once, nothing twice, resumable, equal to one at a time."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon.encode import Encoder, FeatureEncoder, encode_feedback
from guerdon.encode.template import PlainTemplate, Unit
from guerdon.errors import BackendError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback

CHAT = [{"role": "user", "content": "Name a fruit."}]


class Counting:
    """Vectors that say which text they are of; remembers what it was asked for."""

    kind, cached, dim, template = "counting", True, 4, PlainTemplate()

    def __init__(self) -> None:
        self.asked: list[Unit] = []
        self.stop_after: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        return {"encoder": "counting"}

    def vector(self, unit: Unit) -> np.ndarray:
        seed = np.frombuffer(repr(unit).encode(), np.uint8)
        return np.random.default_rng(seed).standard_normal(4).astype(np.float32)

    def batches(self, units: Sequence[Unit]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in reversed(range(len(units))):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(units[i])
            yield np.array([i]), self.vector(units[i])[None]


def encoder(features: str = "both", **options: Any) -> FeatureEncoder:
    return FeatureEncoder(Counting(), features, "counting", **options)


BATCH = Candidates(
    prompts=["a", "b", "a", CHAT, "b", "a"],
    responses=["b", "a", "b", "a", "Name a fruit.", [{"role": "assistant", "content": "b"}]],
)


def test_each_distinct_text_is_encoded_once_across_prompts_and_responses():
    e = encoder()
    assert isinstance(e, Encoder)
    x = e.encode(BATCH)
    assert sorted(map(str, e.texts.asked)) == ["Name a fruit.", "a", "b"]
    v = e.texts.vector
    np.testing.assert_array_equal(x[1], np.concatenate([v("b"), v("a"), v("b") * v("a")]))
    np.testing.assert_array_equal(x[5], x[0])


def test_second_call_computes_nothing_and_gives_the_same_bits(cache: Path):
    first = encoder("joined+response")
    x = first.encode(BATCH)
    assert first.computed == len(first.texts.asked) > 0
    second = encoder("joined+response")
    assert second.encode(BATCH).tobytes() == x.tobytes()
    assert second.computed == 0
    third = encoder("response")
    third.encode(BATCH)
    assert third.computed == 0, "another feature map takes the same texts from the cache"
    fourth = encoder("joined+response", cache=False)
    assert fourth.encode(BATCH).tobytes() == x.tobytes()
    assert fourth.computed == first.computed


def test_a_pair_is_not_its_text():
    e = encoder("joined+response")
    e.encode(Candidates(["a", "a"], ["b", "a\n\nb"]))
    again = encoder("joined+response")
    again.encode(Candidates(["a", "a"], ["b", "a\n\nb"]))
    assert again.computed == 0
    assert set(e.texts.asked) == {("a", "b"), "b", ("a", "a\n\nb"), "a\n\nb"}


def test_an_interrupted_run_goes_on_where_it_was():
    texts = [f"text {i}" for i in range(20)]
    batch = Candidates([""] * 20, texts)
    broken = encoder("response")
    broken.texts.stop_after = 8
    with pytest.raises(KeyboardInterrupt):
        broken.encode(batch)
    resumed = encoder("response")
    x = resumed.encode(batch)
    assert resumed.computed == 12
    assert not set(resumed.texts.asked) & set(broken.texts.asked)
    np.testing.assert_array_equal(x, np.stack([resumed.texts.vector(t) for t in texts]))


def test_features_that_are_not_finite_are_refused_and_not_cached():
    e = encoder("response")
    e.texts.vector = lambda unit: np.full(4, np.nan if unit == "bad one" else 1.0, np.float32)
    with pytest.raises(BackendError, match=r"not finite, first 'bad one'; try dtype=float32"):
        e.encode(Candidates(["", ""], ["bad one", "good one"]))
    again = encoder("response")
    again.encode(Candidates(["", ""], ["bad one", "good one"]))
    assert again.texts.asked == ["bad one"]


def star() -> Feedback:
    rows = [
        Judgement("p1", ("r1", "r2"), (1, 0)),
        Judgement("p1", ("r1", "r3"), (1, 0), user="ann"),
        Judgement("p2", ("r1", "r4"), (1, 0)),
        Judgement(CHAT, ("r5", [{"role": "assistant", "content": "r2"}]), (1, 0)),
    ]
    return Feedback.of(rows)


@pytest.mark.parametrize("features", ["response", "joined", "both", "response+surface"])
def test_feedback_is_encoded_like_its_candidates(features: str):
    feedback = star()
    e = encoder(features, cache=False)
    x = encode_feedback(e, feedback)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, encoder(features, cache=False).encode(feedback.candidates))
    assert len(e.texts.asked) == len(set(map(str, e.texts.asked)))


def test_only_used_candidates_are_encoded():
    feedback = star().take(np.array([1]))
    e = encoder("joined", cache=False)
    x = encode_feedback(e, feedback)
    assert len(x) == len(feedback.candidates) == 7
    assert np.flatnonzero(x.any(1)).tolist() == feedback.used.tolist()
    assert e.computed == 2
    whole = encode_feedback(encoder("joined", cache=False), feedback, used_only=False)
    assert whole.any(1).all()
    np.testing.assert_array_equal(whole[feedback.used], x[feedback.used])


def test_any_encoder_will_do():
    class Lengths:
        spec, fingerprint, dim = "lengths", "lengths-1", 1

        def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
            return np.array([[len(c.response)] for c in candidates], dtype=np.float32)

    feedback = star().take(np.array([0, 2]))
    x = encode_feedback(Lengths(), feedback)
    assert x.shape == (7, 1)
    assert np.flatnonzero(x[:, 0]).tolist() == feedback.used.tolist()


def test_nothing_to_encode():
    empty = Candidates([], [])
    assert encoder().encode(empty).shape == (0, 12)
    feedback = star().take(np.array([], dtype=int))
    assert not encode_feedback(encoder(), feedback).any()


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]):
    encoder("response", cache=False).encode(BATCH, progress=True)
    assert capsys.readouterr().out == ""


def test_importing_the_room_imports_no_torch():
    code = "import sys, guerdon.encode as e; e.load_encoder('hash:8'); e.cache_report(); "
    code += "print([m for m in ('torch', 'transformers', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
