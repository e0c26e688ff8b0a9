"""Every implemented paper's claim, at its card's seeds (slow: ``make claims``)."""

import pytest

from guerdon.papers.frame import run
from guerdon.papers.record import implemented, read


@pytest.mark.slow
@pytest.mark.parametrize("slug", implemented())
def test_the_claim_is_as_recorded(slug: str) -> None:
    """A check that does not hold is a result (``guerdon papers`` says partial); one that stops holding is a defect."""
    claim = run(slug)
    recorded = {row.check for row in read()[slug].rows if not row.holds}
    broken = {row.check: f"{bound} with {row.figures}" for row in claim.rows for bound in row.broken}
    new = {check: text for check, text in broken.items() if check not in recorded}
    assert not new, "\n".join(f"{check}: {text}" for check, text in new.items())
