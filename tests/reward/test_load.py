"""Opening and saving rewards: everything that `guerdon.load` takes, and every way in which a directory can be wrong."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

import fake_rewards
import guerdon
from guerdon.errors import BackendError, ConfigError, FeedbackError, ModelError
from guerdon.feedback.schema import Candidates
from guerdon.reward import selftest, storage
from guerdon.reward.base import Scores
from guerdon.reward.load import fingerprint, load

TEXTS = Candidates(["p", "p", "q"], ["banana", "pear", "Beef"])


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved personal reward that knows ann and bob."""
    fake_rewards.register(monkeypatch)
    return fake_rewards.tastes("ann", "bob").save(tmp_path / "model")


# ------------------------------------------------------------------ what load() takes


def test_a_reward_is_given_back() -> None:
    reward = fake_rewards.Picky()
    assert load(reward) is reward


def test_rules() -> None:
    assert load("rule:length").score(TEXTS).value.tolist() == [6, 4, 4]
    a, b = load("rule:random").score(TEXTS).value, load("rule:random").score(TEXTS.take([2, 0, 1])).value
    assert a.tolist() == b[[1, 2, 0]].tolist()
    assert len(set(a)) == 3
    assert ((a >= 0) & (a < 1)).all()


@pytest.mark.parametrize("spec", ["fake_rewards:Picky", "fake_rewards:a_reward"])
def test_objects_and_classes(spec: str) -> None:
    assert load(spec).score(TEXTS).status[0] == "abstained"


def test_plain_functions_and_trl_functions() -> None:
    scores = load("fake_rewards:shouting").score(Candidates(["p"] * 3, ["ABc", "abc", "123"]))
    assert scores.value[:2].tolist() == [2, 0]
    assert scores.status[2] == "abstained"
    words = load("fake_rewards:trl_style").score(Candidates(["p"] * 2, ["one two", ""]))
    assert words.value[0] == 2
    assert list(words.status) == ["scored", "abstained"]


def test_a_module_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_reward.py").write_text("def f(prompt, response):\n    return 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load("my_own_reward:f").score(TEXTS).value.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere/at/all", "no reward at 'nowhere/at/all'; give a directory"),
        ("rule:nothing", "no rule 'nothing'; there is: rule:length, rule:random"),
        ("judge:gpt", "write http://HOST:PORT/v1#MODEL or hf:PATH"),
        ("hf:", "needs a name"),
        ("no_such_module_here:f", "no module 'no_such_module_here'"),
        ("fake_rewards:nothing", "fake_rewards has no 'nothing'"),
        ("fake_rewards:NOT_A_REWARD", "is a int, not a reward"),
        ("fake_rewards:one_argument", r"takes \(x\); a reward function takes \(prompt, response\)"),
        (__file__, "is a file; a reward is"),
    ],
)
def test_what_is_no_reward(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(spec)


def test_an_empty_directory_is_no_reward(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no reward \(no config.json\)"):
        load(tmp_path)


# ------------------------------------------------------------------ saving and loading


def test_round_trip(saved: Path) -> None:
    before, after = fake_rewards.tastes("ann", "bob"), guerdon.load(saved)
    assert isinstance(after, fake_rewards.Tastes)
    for user in ("ann", "bob", None, "stranger"):
        asked = TEXTS.asked_by(user)
        np.testing.assert_array_equal(after.score(asked).value, before.score(asked).value)
    assert after.summary == before.summary
    assert sorted(f.name for f in saved.iterdir()) == sorted(storage.FILES)
    assert not [f for f in saved.parent.iterdir() if f != saved], "temporary directories are left behind"


def test_the_card_tells_what_it_is(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    for part in ("# Reward model `tastes`", "## Data", "judgements | 7", "## Metrics", "accuracy | 0.75", "## Limits"):
        assert part in card
    assert "personal data" in card


def test_no_training_text_is_saved_in_the_self_test(saved: Path) -> None:
    test = json.loads((saved / "selftest.json").read_text())
    assert len(test["scores"]) == 6  # three examples, for nobody and for ann
    assert set(test["user"]) == {None, "ann"}


def test_saving_again_replaces_the_model_and_keeps_notes(saved: Path) -> None:
    (saved / "notes.md").write_text("mine")
    fake_rewards.tastes("eve").save(saved)
    assert load(saved).users == ("eve",)  # type: ignore[attr-defined]
    assert (saved / "notes.md").read_text() == "mine"


def test_something_else_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rewards.register(monkeypatch)
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(ConfigError, match="is not empty and holds no guerdon model"):
        fake_rewards.tastes().save(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        fake_rewards.tastes().save(tmp_path / "thesis.tex")
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failing_save_leaves_the_old_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = fake_rewards.tastes("eve")
    monkeypatch.setattr(broken, "score", lambda candidates: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken.save(saved)
    assert load(saved).users == ("ann", "bob")  # type: ignore[attr-defined]
    assert len(list(saved.parent.iterdir())) == 1


def test_only_listed_classes_are_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Tastes cannot be saved: list it in"):
        fake_rewards.tastes().save(tmp_path / "m")


def test_a_model_whose_texts_are_limited_has_no_self_test(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = fake_rewards.tastes("ann")

    def score(candidates: Candidates) -> Scores:
        raise FeedbackError("no features for this text")

    monkeypatch.setattr(limited, "score", score)
    limited.save(saved)
    assert json.loads((saved / "selftest.json").read_text()) == {"skipped": "no features for this text"}
    assert load(saved).users == ("ann",)  # type: ignore[attr-defined]


def edit(path: Path, **changes: object) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


def test_every_damage_is_named(saved: Path) -> None:
    def damaged(name: str, change: object, message: str) -> None:
        copy = saved.with_name("copy")
        shutil.copytree(saved, copy)
        if callable(change):
            change(copy / name)
        with pytest.raises(ModelError, match=message):
            load(copy)
        shutil.rmtree(copy)

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-5])

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))

    for name in ("model.safetensors", "people.parquet", "selftest.json"):
        damaged(name, Path.unlink, f"{name} is missing")
    damaged("config.json", cut, "config.json is damaged")
    damaged("config.json", lambda p: p.write_text("[1]"), "does not describe a guerdon model")
    damaged("model.safetensors", cut, "model.safetensors is damaged")
    damaged("model.safetensors", flip, "model.safetensors is damaged")
    damaged("people.parquet", flip, "people.parquet is damaged")
    damaged("config.json", lambda p: edit(p, guerdon={"format": 99, "version": "7.0"}), "saved by guerdon 7.0")
    damaged("config.json", lambda p: edit(p, model="os.system"), "unknown model 'os.system'")
    damaged("config.json", lambda p: edit(p, params={"colour": 1}), "no parameter 'colour'.*another version")
    damaged("config.json", lambda p: edit(p, checksums={"../../etc/passwd": "x"}), "unknown file")
    damaged("selftest.json", lambda p: p.write_text("{}"), "selftest.json is damaged")
    damaged("selftest.json", lambda p: edit(p, scores=[0.0] * 6), "fails its self-test: example 3 scores")


def test_a_bad_self_test_can_be_opened_on_purpose(saved: Path) -> None:
    edit(saved / "selftest.json", scores=[0.0] * 6)
    assert load(saved, verify=False).name == "tastes"


class FakeEncoder:
    spec, dim = "fake", 3

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint


def test_another_encoder_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    edit(saved / "config.json", encoder={"spec": "fake", "fingerprint": "revision-1"})
    monkeypatch.setattr(fake_rewards.Tastes, "encoder", FakeEncoder("revision-1"), raising=False)
    assert load(saved).name == "tastes"
    monkeypatch.setattr(fake_rewards.Tastes, "encoder", FakeEncoder("revision-2"), raising=False)
    with pytest.raises(ModelError, match="fitted on features revision-1, but the encoder 'fake' computes revision-2"):
        load(saved)

    def missing(*_: object) -> None:
        raise BackendError("this needs the package 'x'")

    monkeypatch.setattr(selftest, "open_encoder", missing)
    with caplog.at_level(logging.WARNING):
        assert load(saved).name == "tastes"
    assert "the encoder cannot be checked: this needs the package 'x'" in caplog.text


# ------------------------------------------------------------------ fingerprints


def test_fingerprint_follows_the_model(saved: Path, tmp_path: Path) -> None:
    first = fingerprint(saved)
    moved = tmp_path / "elsewhere"
    shutil.copytree(saved, moved)
    assert fingerprint(moved) == first
    (moved / "README.md").write_text("another card")
    assert fingerprint(moved) == first
    fake_rewards.tastes("eve").save(saved)
    assert fingerprint(saved) != first
    assert fingerprint("rule:length") != fingerprint("rule:random")
    assert fingerprint("fake_rewards:Picky") == fingerprint("fake_rewards:Picky")
