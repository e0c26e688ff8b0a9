"""The verifier world of one-token-to-fool, and the check of its harness (the trained checks are slow)."""

import re

import numpy as np

from guerdon.curate.truncated import truncated
from guerdon.papers.one_token_to_fool import LANGUAGES, OPENERS, VALUES, World, constants, tokens


def test_constant_judges_are_found_out() -> None:
    row = constants()
    assert row.holds, row.broken


def test_the_world() -> None:
    world = World(0)
    candidates, right = world.judged(3000, 0)
    said = np.array([int(str(r).rsplit("a", 1)[1]) for r in candidates.responses])
    prompt = np.array([int(str(p)[1:]) for p in candidates.prompts])
    assert ((said == world.answer[prompt]) == (right == 1)).all()
    begins = np.array([str(r).startswith("o") for r in candidates.responses])
    assert abs(begins[right == 1].mean() - 0.9) < 0.03
    assert abs(begins[right == 0].mean() - 0.3) < 0.04
    assert (tokens(candidates)[:, 0] > 0).all()
    assert sorted(world.answer) == list(range(VALUES))
    for response in truncated(candidates, share=1.0).responses:
        words = {int(w) for w in re.findall(r"o(\d+)", str(response))}
        assert "a" not in str(response)
        assert any(words <= set(language) for language in LANGUAGES)
        assert max(words) < OPENERS
