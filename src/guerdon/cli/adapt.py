"""`guerdon adapt`: add people to a personal reward."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guerdon.cli.reading import Format, Items, Map, SkipBad, Where

if TYPE_CHECKING:
    from guerdon.feedback.star import Feedback


def adapt(
    reward: Annotated[str, typer.Argument(help="A personal reward that guerdon fit saved.")],
    feedback: Annotated[
        list[str], typer.Argument(help="What the new people said: files, directories, -, or hf:org/name[:split].")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the reward with the people added; may be REWARD itself.")],
    user: Annotated[str | None, typer.Option(help="Who judged, where the feedback does not say.")] = None,
    format: Format = None,
    map: Map = None,
    items: Items = None,
    where: Where = None,
    skip_bad: SkipBad = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Add the people of FEEDBACK to a personal REWARD; only their weights are solved for, nothing else changes.

    People it knows already go on learning from what they say now.
    """
    import time

    import numpy as np

    from guerdon.cli.console import emit, say
    from guerdon.cli.reading import read_feedback
    from guerdon.errors import ConfigError
    from guerdon.reward.learned.fitted import FittedReward
    from guerdon.reward.load import load
    from guerdon.reward.storage import check_place

    check_place(out)
    judge = load(reward)
    before = getattr(judge, "users", None)
    if not isinstance(judge, FittedReward) or before is None:
        raise ConfigError(
            f"{reward} ({judge.name}) is not personal, so there is nobody to add; fit one with --model low-rank"
        )
    data = read_feedback(feedback, format=format, map=map, items=items, where=where, skip_bad=skip_bad)
    if user is not None:
        data = said_by(data, user)
    start = time.perf_counter()
    adapted = judge.adapt(data)
    seconds = time.perf_counter() - start
    adapted.save(out)
    after = set(adapted.users)  # type: ignore[attr-defined]
    here = {data.users[code] for code in np.unique(data.user[data.user >= 0])}
    new, again = sorted(after - set(before)), sorted(here & set(before))
    say(f"{len(new):,} people added, {len(again):,} known ones learned further, in {seconds * 1000:.0f} ms")
    silent = sorted(here - after)
    if silent:
        say(f"{len(silent):,} people gave no comparison and stay unknown: {', '.join(silent[:5])}")
    say(f"saved: {out} ({len(after):,} people)")
    if json:
        document = {"out": str(out), "added": new, "updated": again, "without_comparisons": silent}
        emit({**document, "people": len(after), "seconds": round(seconds, 4)})


def said_by(data: Feedback, user: str) -> Feedback:
    """The feedback with ``user`` as the author of every judgement that names none."""
    from dataclasses import replace

    import numpy as np

    users = data.users if user in data.users else (*data.users, user)
    return replace(data, users=users, user=np.where(data.user < 0, users.index(user), data.user).astype(np.int32))
