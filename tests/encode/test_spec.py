"""Specifications: what is accepted, what is refused and how, and that they open again to the same features."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.encode import load_encoder
from guerdon.encode.spec import Option, Spec, write_spec
from guerdon.errors import BackendError, ConfigError
from guerdon.feedback.schema import Candidates

BATCH = Candidates(["Name a fruit.", "Why?"], ["An apple.", "Because."])


def test_parts_of_a_specification():
    spec = Spec.parse("hf:org/model?features=joined+response&prefix=a%26b%3F")
    assert (spec.kind, spec.name) == ("hf", "org/model")
    assert spec.options == {"features": "joined+response", "prefix": "a&b?"}
    assert Spec.parse("file:/data/what?.npz").name == "/data/what?.npz"
    assert Spec.parse("minilm").options == {}


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(), max_size=4), st.text("ab/.-_", max_size=9)
)
def test_written_specifications_read_back(values: dict[str, str], name: str):
    known = {k: Option(None, str, "") for k in values}
    spec = Spec.parse(write_spec("kind", name, values, known))
    assert spec.values(known) == values
    assert spec.name == name


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "minilm?pooling=last",
            "no option 'pooling'; it has: batch_tokens, cache, device, dtype, features, max_length",
        ),
        ("minilm?max_length=many", "use a whole number"),
        ("minilm?max_length=1024", "at most 512"),
        ("minilm?features=responce", "no feature map 'responce'; use response, joined"),
        ("minilm?features=response&features=joined", "given twice"),
        ("minilm?max_length=9&x", "'x' is not option=value"),
        ("minilm:large", "takes no name"),
        ("bert-base-uncased", "does not say how to read it"),
        ("hash:many", "use a whole number"),
        ("hash:1", "at least 2"),
        ("hf:", "needs a model"),
        ("hf:some/model?pooling=max", "use one of last, mean"),
        ("file:", "needs a path"),
        ("file:/nowhere/x.npz", "does not exist"),
        ("", "expected a specification"),
    ],
)
def test_wrong_specifications_say_what_is_right(spec: str, said: str):
    with pytest.raises(ConfigError) as error:
        load_encoder(spec)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["hf:no-such-org/no-such-model", "st:no-such-org/x?revision=v9", "hf:./nowhere"])
def test_missing_models_are_one_line(spec: str):
    with pytest.raises(BackendError) as error:
        load_encoder(spec)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model_is_one_line(tmp_path: Path):
    with pytest.raises(BackendError, match="cannot be opened") as error:
        load_encoder(f"hf:{tmp_path}").fingerprint  # noqa: B018
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="revision=main belongs to hub names"):
        load_encoder(f"hf:{tmp_path}?revision=main")


@pytest.mark.parametrize("options", ["", "?pooling=mean&layer=1&features=response", "?max_length=16&template=none"])
def test_spec_opens_the_same_features_again(lm: Path, options: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(lm.parent)
    first = load_encoder(f"hf:./{lm.name}{options}")
    monkeypatch.chdir("/")
    again = load_encoder(first.spec)
    assert (again.spec, again.fingerprint, again.dim) == (first.spec, first.fingerprint, first.dim)
    assert np.array_equal(again.encode(BATCH), first.encode(BATCH))


def test_an_encoder_is_returned_as_it_is():
    encoder = load_encoder("hash:16")
    assert load_encoder(encoder) is encoder


def test_fingerprints_tell_what_matters_and_nothing_else(lm: Path, tmp_path: Path):
    import shutil

    base = f"hf:{lm}"
    names = {
        load_encoder(base + tail).fingerprint
        for tail in ("", "?pooling=mean", "?layer=1", "?max_length=64", "?template=none", "?dtype=bfloat16")
    } | {load_encoder(base + "?features=response").fingerprint}
    assert len(names) == 7
    assert load_encoder(base + "?batch_tokens=64&device=cpu&cache=off").fingerprint == load_encoder(base).fingerprint
    assert load_encoder(base + "?layer=3").fingerprint == load_encoder(base).fingerprint  # -1 is the third of three
    moved = shutil.copytree(lm, tmp_path / "moved")
    (moved / "README.md").write_text("notes")
    assert load_encoder(f"hf:{moved}").fingerprint == load_encoder(base).fingerprint
    config = moved / "tokenizer_config.json"
    config.write_text(config.read_text().replace("{", '{"note": 1,', 1))
    assert load_encoder(f"hf:{moved}").fingerprint != load_encoder(base).fingerprint
