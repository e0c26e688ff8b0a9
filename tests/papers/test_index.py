"""The index holds all 119 systems, each with a place in the house and a line of its own."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from guerdon.errors import ConfigError
from guerdon.papers.index import PAPERS, paper
from guerdon.papers.record import implemented

ROOMS = {
    "bench", "curate", "steer", "survey", "tune",
    "tune/language", "tune/diffusion", "tune/recommend", "tune/control",
    "reward/learned", "reward/personal", "reward/implicit", "reward/judge", "reward/verify", "reward/media",
    "reward/compose",
}  # fmt: skip


def test_all_119_in_order() -> None:
    assert [p.number for p in PAPERS.values()] == list(range(1, 120))
    assert len({p.title for p in PAPERS.values()}) == 119
    assert len({p.mechanism for p in PAPERS.values()}) == 119


def test_each_row_is_complete() -> None:
    for p in PAPERS.values():
        assert re.fullmatch(r"[a-z0-9-]+", p.slug)
        assert set(p.room.split(" + ")) <= ROOMS, p.slug
        assert 40 < len(p.mechanism) < 140, p.slug
        assert "\n" not in p.mechanism
        assert not p.mechanism.endswith(".")
        assert p.name
        if p.url is not None:
            year, month = re.fullmatch(r"https://arxiv\.org/abs/(\d\d)(\d\d)\.\d{5}", p.url).groups()  # type: ignore[union-attr]
            assert p.year == 2000 + int(year)
            assert 1 <= int(month) <= 12
    urls = [p.url for p in PAPERS.values() if p.url]
    assert len(urls) == len(set(urls))


def test_the_index_agrees_with_the_cards(shared_data: Path) -> None:
    cards = shared_data.parent / "papers" / "INDEX.md"
    if not cards.is_file():
        pytest.skip(f"no cards at {cards}")
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \| (.*?) \| ", cards.read_text(encoding="utf-8"), re.M)
    assert [(p.number, p.slug, p.title) for p in PAPERS.values()] == [(int(n), slug, title) for n, slug, title in rows]


def test_unknown_slugs_get_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="did you mean lore"):
        paper("lorre")
    with pytest.raises(ConfigError, match="guerdon papers lists them"):
        paper("zzzzzzzzzzzz")


@pytest.mark.parametrize("slug", implemented())
def test_every_check_is_the_paper_it_says(slug: str) -> None:
    module = import_module(PAPERS[slug].module)
    assert PAPERS[slug] == module.PAPER
    assert callable(module.check)
    assert len(module.__doc__) > 100
