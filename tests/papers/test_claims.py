"""Every implemented paper's claim, at its card's seeds (slow: ``make claims``)."""

import pytest

from guerdon.papers.frame import run
from guerdon.papers.record import implemented


@pytest.mark.slow
@pytest.mark.parametrize("slug", implemented())
def test_the_claim_holds(slug: str) -> None:
    claim = run(slug)
    broken = [f"{row.check}: {bound} with {row.figures}" for row in claim.rows for bound in row.broken]
    assert claim.holds, "\n".join(broken)
