"""The report: self-contained, escaped, complete, readable in parts that fail."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from guerdon.bench.evaluate import Evaluation, evaluate
from guerdon.bench.report import render, write_report
from guerdon.errors import BackendError, ConfigError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Function

pytest.importorskip("matplotlib")

EVIL = "<script>alert('x')</script> & $\\frac{1}$ \"q\" <img src=http://evil.example/x>"


@pytest.fixture(scope="module")
def evaluation(world, fake_personal) -> Evaluation:
    rows = []
    for i, row in enumerate(world.comparisons(each=25).judgements()):
        rows.append(replace(row, subset=f"{EVIL} {i % 3}", criterion=["helpful", "多语言 🙂"][i % 2]))
    feedback = replace(Feedback.of(rows), notes=(f"read from {EVIL}",))
    reward = fake_personal(world, dict(list(world.tastes.items())[:20]))
    reward.name = f"mine {EVIL}"
    reward.summary = {EVIL: EVIL, "rank": 3}
    return evaluate(reward, feedback, shots=[2, 5], bootstrap=50, draws=1)


@pytest.fixture(scope="module")
def text(evaluation) -> str:
    return render(evaluation)


class Page(HTMLParser):
    VOID = ("meta", "br", "path", "use", "rect", "circle")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str | None]] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes += attrs
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.stack.pop() == tag


def test_nothing_is_loaded_from_anywhere(text):
    page = Page(text)
    for tag in ("script", "link", "iframe", "img", "object", "embed", "form", "base"):
        assert tag not in page.tags
    for name, value in page.attributes:
        if name in ("href", "src", "xlink:href", "action", "data", "srcset"):
            assert (value or "").startswith("#")
        assert not name.startswith("on")
        assert "url(http" not in (value or "")
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style is not None
    assert "@import" not in style.group(1)
    assert "url(" not in style.group(1)


def test_everything_from_data_is_escaped(text):
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert" in text
    assert "多语言" in text


def test_the_page_is_well_formed_and_has_its_plots(evaluation, text):
    page = Page(text)
    assert page.stack == []
    # shots, reliability, people, and a plot for each kind of group with two members
    kinds = {g.kind for g in evaluation.groups}
    assert kinds == {"subset", "criterion", "person", "people", "length"}
    assert page.tags["svg"] == 3 + len(kinds)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for name, value in page.attributes if name == "href" and value}
    assert used <= set(ids)


def test_colours_come_from_the_page(text):
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert "var(--accent)" in drawn
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_same_evaluation_same_page(evaluation, text):
    assert render(evaluation) == text


def test_cautions_and_baselines_are_in_plain_words(evaluation, text):
    assert "What to be careful about" in text
    for line in evaluation.cautions:
        assert line.split("(")[0].replace("'", "&#x27;")[:60] in text
    for name in ("length", "as-nobody", "random"):
        assert f"<td>{name}<small>" in text


def test_silent_and_tiny_evaluations_still_make_a_page():
    feedback = Feedback.of([Judgement("p", ("a", "bb"), (1, 0))])
    for function in (lambda p, r: None, lambda p, r: 1.0, lambda p, r: float(len(r))):
        text = render(evaluate(Function(function, "f"), feedback, bootstrap=20))
        assert Page(text).stack == []
        assert "nan" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.S).lower().replace("nanjing", "")


def test_files(evaluation, tmp_path):
    file = write_report(evaluation, tmp_path / "deep" / "page.html")
    assert file == tmp_path / "deep" / "page.html"
    assert [f.name for f in file.parent.iterdir()] == ["page.html"]
    folder = write_report(evaluation, tmp_path / "folder").parent
    assert sorted(f.name for f in folder.iterdir()) == ["evaluation.json", "report.html"]
    assert json.loads((folder / "evaluation.json").read_text("utf-8"))["reward"] == evaluation.reward
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_report(evaluation, tmp_path / "file" / "page.html")


def test_lone_surrogates_do_not_break_the_file(evaluation, tmp_path):
    odd = replace(evaluation, reward="half \ud83d emoji")
    assert "half" in write_report(odd, tmp_path / "x.html").read_text("utf-8")


def test_without_matplotlib_the_error_says_what_to_install(evaluation, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackendError, match=r"guerdon\[plot\]"):
        render(evaluation)
