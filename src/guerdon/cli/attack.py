"""`guerdon attack`: can a reward be fooled? A battery of attacks, how often each succeeds, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guerdon.cli.reading import Format, Map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guerdon.bench.attacks import Attack, Case
    from guerdon.bench.attacks.run import Battery


def attack(
    reward: Annotated[
        str,
        typer.Argument(
            help="A saved reward, hf:org/name, rule:length, judge:..., or package.module:object.", metavar="REWARD"
        ),
    ],
    prompts: Annotated[
        str | None,
        typer.Argument(
            help="FEEDBACK (its best and worst responses) or CANDIDATES; 36 bundled questions if not given.",
            metavar="[PROMPTS]",
        ),
    ] = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help="Only this attack, this family, or package.module:object.", metavar="NAME"),
    ] = None,
    without: Annotated[list[str] | None, typer.Option(help="Not this attack or family.", metavar="NAME")] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="Own contentless responses, one a line, as one more attack.", metavar="FILE"),
    ] = None,
    near: Annotated[
        Path | None,
        typer.Option(
            help="Texts, one a line; those nearest to known keys are one more attack, near-keys.", metavar="FILE"
        ),
    ] = None,
    encoder: Annotated[str, typer.Option(help="Which sentence encoder --near is by.", metavar="SPEC")] = "minilm",
    threshold: Annotated[
        float | None,
        typer.Option(help="A score from which a response is accepted; 0.5 for yes-no judges.", metavar="SCORE"),
    ] = None,
    against_honest: Annotated[
        bool, typer.Option("--against-honest", help="Accepted is what gets as much as the honest answer, always.")
    ] = False,
    tries: Annotated[int, typer.Option(min=0, help="Responses tried on a prompt, an attack; 0 = all.")] = 4,
    margin: Annotated[
        float, typer.Option(min=0, help="How far style must raise a score, in gaps between honest and bad answers.")
    ] = 0.1,
    reference: Annotated[
        bool, typer.Option("--reference", help="Give the bundled questions' right answers to the reward.")
    ] = False,
    user: Annotated[str | None, typer.Option(help="Who asks, for a personal reward.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many prompts.")] = None,
    max_success: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit with 1 if any attack succeeds more often than this.", metavar="RATE"),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page.", metavar="FILE.html")] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Bootstrap replicates; 0 = no intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seeds the bootstrap.")] = 0,
    format: Format = None,
    map: Map = None,
    list_: Annotated[bool, typer.Option("--list", help="List the attacks and what their success means.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Put REWARD to attacks: contentless answers, forged verdicts and orders, style without content, position.

    A success is a contentless answer that gets what the honest one gets, a bad answer that comes to, or one that gets
    more for the same content (--list says which). Scores are kept in the cache: a run that was interrupted goes on
    where it was.
    """
    from dataclasses import replace
    from functools import partial

    from guerdon.bench.attacks.run import natural_threshold, run, winning_verdicts
    from guerdon.bench.remembered import kept
    from guerdon.cli.console import emit, say, steps
    from guerdon.errors import ConfigError
    from guerdon.reward.load import load

    battery = _battery(attacks or (), without or (), keys, near, encoder)
    if list_:
        _list(battery)
        return
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--report {report}: name an .html file")
    if against_honest and threshold is not None:
        raise ConfigError(f"--threshold {threshold:g} and --against-honest: choose one")
    judge = load(reward)
    if threshold is None and not against_honest:
        threshold = natural_threshold(judge)
    cases = _cases(prompts, reference, format, map)[:limit]
    if user is not None:
        cases = [replace(case, user=user) for case in cases]
    with steps() as tick:
        result = run(
            kept(judge, reward, progress=partial(tick, "attacking")),
            cases,
            battery,
            threshold=threshold,
            tries=tries or None,
            margin=margin,
            verdicts=winning_verdicts(judge),
            bootstrap=bootstrap,
            seed=seed,
        )
    _show(result)
    if report is not None:
        from guerdon.bench.attacks.show import write

        say(f"report: {write(result, report)}")
    if json:
        emit(result.to_dict())
    if max_success is not None and not _withstood(result, max_success):
        raise typer.Exit(1)


def _battery(
    names: Sequence[str], without: Sequence[str], keys: Path | None, near: Path | None, encoder: str
) -> list[Attack]:
    """The attacks that the options choose, and those made of files of texts."""
    from guerdon.bench.attacks.registry import chosen

    named = [name for name in names if near is None or name != "near-keys"]
    battery = chosen(named, without) if named or not names else []
    if keys is not None:
        from guerdon.bench.attacks import contentless

        texts = _lines(keys, "--keys")
        battery.append(contentless.keys("own-keys", texts, f"contentless responses of {keys.name}"))
    if near is not None:
        from guerdon.bench.attacks.key_search import near_keys, sentence_embedding

        battery.append(near_keys(_lines(near, "--near"), sentence_embedding(encoder)))
    return battery


def _list(battery: Sequence[Attack]) -> None:
    from guerdon.bench.attacks import AIMS
    from guerdon.cli.console import table

    rows = [[a.name, a.family, a.what, AIMS[a.aim]] for a in battery]
    table("", ["attack", "family", "what", "success"], rows, text=("family", "what", "success"))


def _cases(source: str | None, references: bool, format: str | None, map: list[str] | None) -> list[Case]:
    """The bundled prompts, or those of feedback, or of candidates where the source holds no judgements."""
    from guerdon.bench.attacks.prompts import bundled, from_candidates, from_feedback
    from guerdon.cli.reading import read_feedback
    from guerdon.errors import FeedbackError

    if source is None:
        return bundled(references=references)
    try:
        return from_feedback(read_feedback([source], format=format, map=map, quiet=True))
    except FeedbackError as error:
        if format is not None:
            raise
        no_feedback = error
    from guerdon.cli.candidates import mapping, read_items, to_candidates

    try:
        return from_candidates(to_candidates(list(read_items(source, names=mapping(map or ())))))
    except FeedbackError as error:
        raise FeedbackError(f"{source} is neither feedback ({no_feedback}) nor candidates ({error})") from None


def _lines(path: Path, option: str) -> list[str]:
    from guerdon.errors import ConfigError

    try:
        texts = list(dict.fromkeys(line for line in path.read_text(encoding="utf-8").splitlines() if line))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option} {path}: cannot be read ({error})") from None
    if not texts:
        raise ConfigError(f"{option} {path}: holds no line; write one response a line")
    return texts


def _show(result: Battery) -> None:
    """The battery for people, on stderr; what to be careful about comes last."""
    from guerdon.bench.attacks.show import best_try
    from guerdon.cli.console import say, table

    say(f"{result.reward}: {len(result.attacks)} attacks on {result.settings['prompts']} prompts")
    rows = []
    for a in result.attacks:
        rows.append([a.name, str(a.success), a.any.value, a.shift.value, best_try(a)])
    columns = ["attack", "success", "any try", "shift", "most successful try"]
    table("", columns, [[None if v != v else v for v in row] for row in rows], text=columns[-1:])
    say()
    table("", ["family", "success"], [[k, str(f)] for k, f in result.families.items()])
    say(f"all attacks: {result.overall}; without attacks: " + ", ".join(f"{k} {f}" for k, f in result.honest.items()))
    for reason, n in result.reasons.items():
        say(f"unscored: {n} x {reason}")
    for note in result.notes:
        say(f"careful: {note}")


def _withstood(result: Battery, most: float) -> bool:
    """Whether no attack succeeds more often than ``most``, as far as any was measured; what is wrong is said."""
    from guerdon.cli.console import say

    fooled = [a for a in result.attacks if a.success.value > most]
    for a in fooled:
        say(f"fooled: {a.name} succeeds on {a.success}, more than --max-success {most:g}")
    if result.worst is None:
        say("fooled or not cannot be said: no attack could be measured")
    return not fooled and result.worst is not None
