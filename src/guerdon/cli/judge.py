"""`guerdon judge`: a language model's verdicts on the rows of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence

    from guerdon.cli.candidates import Item
    from guerdon.feedback.schema import Candidates
    from guerdon.reward.base import Reward, Scores


def judge(
    candidates: str = typer.Argument(..., help="JSONL, JSON, CSV or Parquet (also .gz), a directory, or - for stdin."),
    lm: str = typer.Option(..., "--lm", help="http://HOST:PORT/v1#MODEL, or hf:PATH."),
    by: str = typer.Option(
        None, "--by", help="question, principles, rubric, criteria, described, agent; told by the options below."
    ),
    question: str = typer.Option(None, "--question", help="What a good response is: a text, or a file."),
    principles: str = typer.Option(None, "--principles", help="A file, a principle a line."),
    rubric: str = typer.Option(None, "--rubric", help="A file of criteria: JSON, YAML, or a line each."),
    pairwise: bool = typer.Option(False, "--pairwise", help="Compare in pairs, both orders; a tournament of lists."),
    listwise: bool = typer.Option(False, "--listwise", help="All responses to a prompt in one question."),
    reference: bool = typer.Option(False, "--reference", help="Compare with the row's reference answer."),
    tools: str = typer.Option(
        None, "--tools", help="Called before judging: calculator,calendar,code,search=FILE,wiki=FILE,weather=FILE, ..."
    ),
    scale: str = typer.Option(None, "--scale", help="yes-no, or grades such as 1-5."),
    votes: int = typer.Option(None, "--votes", min=1, help="Most draws a question."),
    budget: str = typer.Option(None, "--budget", help="calls=N,tokens=N,money=X,price_in=X,price_out=X (per million)."),
    settings: list[str] = typer.Option([], "--set", help="KEY=VALUE, further options of judge: specifications."),
    feedback: bool = typer.Option(
        False, "--feedback", help="CANDIDATES is feedback: judge its pairs, report agreement."
    ),
    user: str = typer.Option(None, "--user", help="Judge everything for this person."),
    criterion: str = typer.Option(None, "--criterion", help="Judge everything by this criterion."),
    out: str = typer.Option(None, "--out", help="Write here (.jsonl .json .csv .parquet); resumes after a kill."),
    batch: int = typer.Option(1024, "--batch", min=1, help="Responses judged at a time."),
    names: list[str] = typer.Option([], "--map", help="FIELD=COLUMN, e.g. prompt=question,response=text."),
    column: str = typer.Option("score", "--column", help="Name of the added column (and prefix of the others)."),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Mark unusable rows as invalid instead of stopping."),
    json_out: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Have a language model judge every row of CANDIDATES, in order.

    Rows hold a prompt and a response, or a prompt and a list of responses. --pairwise and --listwise (and --by agent)
    judge the responses to a prompt together: the list of a row, or rows of the same prompt that follow each other. What
    gets no verdict has a null score, a status and a reason. --tools adds what was called as a trace. The bill is on
    stderr; a server's replies are cached, so that judging again is free.
    """
    from pathlib import Path

    from guerdon.cli.candidates import batches, mapping, read_items
    from guerdon.cli.console import emit, say
    from guerdon.cli.score import Columns, Work, summary, to_file, to_stdout
    from guerdon.reward.base import Reward
    from guerdon.reward.judge.spec import split_spec
    from guerdon.reward.load import fingerprint, load

    given = {"by": by, "question": question, "principles": principles, "rubric": rubric, "scale": scale}
    chosen = {"pairwise": pairwise, "listwise": listwise, "reference": reference}
    spec = spec_of(lm, given | {"tools": tools, "votes": votes, "budget": budget}, chosen, settings)
    reward = load(spec)
    columns = Columns(column, ("rationale", "votes", *(("trace",) if tools else ())))
    tally = Tally(reward)
    options = {"names": mapping(names), "user": user, "criterion": criterion, "skip_bad": skip_bad}
    compares = type(reward).score is Reward.score  # it has no score of one response alone
    together = compares or split_spec(spec)[1].get("protocol") in ("pairwise", "listwise", "group")
    if feedback:
        work = Work(
            items=lambda: pairs_of(candidates, names, user, criterion),
            groups=lambda items, rescue: batches(items, batch, rescue=rescue),
            rows=lambda items, counts: tally.pairs(items, column, counts),
        )
    else:
        work = Work(
            items=lambda: read_items(candidates, **options, images="image" in reward.sees),
            groups=lambda items, rescue: (
                whole_lists(items, batch, rescue) if together else batches(items, batch, rescue=rescue)
            ),
            rows=lambda items, counts: tally.rows(items, columns, counts, together=together),
        )
    if out is None:
        counts = to_stdout(work, document=tally.document if json_out else None)
    else:
        key = {"judge": fingerprint(spec), "batch size": batch}
        key |= {"options": {**options, "columns": columns.one, "feedback": feedback}}
        types = {**columns.types, "judge": "float64", "people": "float64"} if feedback else columns.types
        counts = to_file(work, key, candidates, Path(out), types, tally.charge, alike=not feedback)
        if json_out:
            emit({"out": out, **tally.document(counts)})
    say(summary(counts) + (f" -> {out}" if out else ""))
    for text in tally.lines(counts):
        say(text)


def spec_of(lm: str, given: dict[str, Any], chosen: dict[str, bool], settings: Sequence[str]) -> str:
    """The ``judge:`` specification that the options mean."""
    from urllib.parse import quote

    from guerdon.errors import ConfigError

    protocols = [name for name, wanted in chosen.items() if wanted]
    if len(protocols) > 1:
        raise ConfigError(f"{' and '.join(f'--{name}' for name in protocols)}: use one of them")
    options = {k: str(v) for k, v in given.items() if v is not None}
    if protocols:
        options["protocol"] = protocols[0]
    for pair in settings:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set {pair!r}: write KEY=VALUE, e.g. --set order=given")
        if name in options:
            raise ConfigError(f"--set {name}: it is given by an option, too")
        options[name] = text
    return f"judge:{lm}" + ("?" if options else "") + "&".join(f"{k}={quote(v, safe='')}" for k, v in options.items())


def whole_lists(items: Iterable[Item], size: int, rescue: bool) -> Iterator[list[Item]]:
    """:func:`guerdon.cli.candidates.batches` that never part what is judged together."""
    from guerdon.errors import FeedbackError

    batch: list[Item] = []
    count = 0
    try:
        for item in items:
            if count >= size and not same_list(batch[-1], item):
                yield batch
                batch, count = [], 0
            batch.append(item)
            count += max(len(item.responses), 1)
    except FeedbackError:
        if rescue and batch:
            yield batch
        raise
    if batch:
        yield batch


def same_list(a: Item, b: Item) -> bool:
    """Whether two rows are responses to one prompt, to be judged together."""
    if a.listed or b.listed or a.error is not None or b.error is not None:
        return False
    return a.prompt == b.prompt and all(a.columns.get(k) == b.columns.get(k) for k in ("user", "criterion"))


class Tally:
    """Judges batches and keeps count: of what is missing and why, of places, of what it cost, of agreement."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self._bias: dict[str, float] = {}

    # ------------------------------------------------------------------ judging

    def rows(
        self, items: list[Item], columns: Any, counts: Counter[str], *, together: bool
    ) -> Iterator[dict[str, Any]]:
        """Output rows of ``guerdon judge`` for rows of candidates."""
        from guerdon.cli.score import score_rows

        def assess(candidates: Candidates) -> Scores:
            if together:
                said = self.reward.rank(candidates, lists=lists(items))  # type: ignore[call-arg]
            else:
                said = self.reward.score(candidates)
            self.count(said, counts)
            return said

        return score_rows(assess, items, columns, counts)

    def pairs(self, items: list[Item], column: str, counts: Counter[str]) -> Iterator[dict[str, Any]]:
        """Output rows for pairs of feedback: ``judge`` is P(first preferred), ``people`` what the feedback says."""
        from guerdon.feedback.schema import Candidates

        def side(k: int) -> Candidates:
            return Candidates(
                [item.prompt for item in items],
                [item.responses[k] for item in items],
                user=[item.columns["user"] for item in items],
                criterion=[item.columns["criterion"] for item in items],
            )

        said = self.reward.prefer(side(0), side(1))
        self.count(said, counts)
        counts.update(said.status)
        for i, item in enumerate(items):
            counts["rows"] += 1
            value = float(said.value[i])
            known = value == value
            if known and item.row["people"] != 0.5:
                same = (value > 0.5) == (item.row["people"] > 0.5)
                counts["agreement: " + ("tie" if value == 0.5 else "same" if same else "other")] += 1
            row = {**item.row, "judge": value if known else None, "status": said.status[i], "reason": said.reason[i]}
            yield {**row, "rationale": said.detail.get("rationale", [None] * len(items))[i]}

    def count(self, said: Scores, counts: Counter[str]) -> None:
        """What a batch adds: reasons, costs, places."""
        for status, reason in zip(said.status, said.reason, strict=True):
            if status != "scored":
                counts[f"reason: {reason or status}"] += 1
        for name, amount in said.cost.items():
            if name != "seconds":
                counts[f"cost: {name}"] += amount  # type: ignore[assignment]
        if hasattr(self.reward, "position_bias"):
            now = dict(vars(self.reward.position_bias()))  # type: ignore[attr-defined]
            for name, value in now.items():
                counts[f"place: {name}"] += value - self._bias.get(name, 0)
            self._bias = now

    def charge(self, counts: Counter[str]) -> None:
        """A run that goes on has less of its budget left."""
        judge = getattr(self.reward, "judge", self.reward)
        asker = getattr(judge, "asker", judge)
        budget = getattr(getattr(asker, "model", None), "budget", None)
        if budget is not None:
            budget.spent_calls += int(counts["cost: calls"])
            budget.spent_in += int(counts["cost: prompt_tokens"])
            budget.spent_out += int(counts["cost: completion_tokens"])

    # ------------------------------------------------------------------ reporting

    def bias(self, counts: Counter[str]) -> Any:
        """The position bias of the whole output, those rows included that an earlier run made; None without any."""
        told = under("place: ", counts)
        return type(self.reward.position_bias())(**told) if told else None  # type: ignore[attr-defined]

    def document(self, counts: Counter[str]) -> dict[str, Any]:
        """JSON-ready: counts by status, reasons of what is missing, costs, position bias, agreement."""
        bias = self.bias(counts)
        out: dict[str, Any] = {
            "counts": {k: v for k, v in counts.items() if ": " not in k},
            "reasons": under("reason: ", counts),
            "cost": under("cost: ", counts),
        }
        if bias is not None:
            names = ("inconsistent", "towards_first", "at_first", "at_last")
            found = {name: getattr(bias, name) for name in names if hasattr(bias, name)}
            out["position_bias"] = {k: None if v != v else v for k, v in found.items()}
        agreed = agreement(counts)
        return out | ({"agreement": agreed} if agreed else {})

    def lines(self, counts: Counter[str]) -> list[str]:
        """What there is to say to people, a line each."""
        out = [f"  {n:,.0f} not judged: {reason}" for reason, n in counts_first(under("reason: ", counts))[:10]]
        bias, agreed = self.bias(counts), agreement(counts)
        if agreed:
            low, high = agreed["interval"]
            text = (
                f"agreement with people {agreed['share']:.1%} ({low:.1%} to {high:.1%}) of {agreed['pairs']:,.0f} pairs"
            )
            out.append(text + (f", {agreed['ties']:,.0f} of them ties of the judge" if agreed["ties"] else ""))
        if hasattr(bias, "inconsistent") and bias.pairs:
            out.append(
                f"position bias: the order decided {bias.inconsistent:.1%} of {bias.pairs:,.0f} pairs, "
                f"towards the first {bias.towards_first:+.2f}"
            )
        elif hasattr(bias, "at_first") and bias.lists:
            out.append(
                f"position bias: the first place adds {bias.at_first:+.2f}, the last {bias.at_last:+.2f}, "
                f"towards the first {bias.towards_first:+.2f} ({bias.lists:,.0f} lists)"
            )
        cost = under("cost: ", counts)
        for name in (key.removesuffix("_lists") for key in cost if key.endswith("_lists")):
            share = cost[f"{name}_lists"] / max(cost["lists"], 1)
            out.append(f"{name}: checked on {share:.1%} of {cost['lists']:,.0f} lists")
        if cost.get("tool_calls"):
            out.append(f"tools: {cost['tool_calls']:,.0f} calls, {cost.get('tool_errors', 0):,.0f} of them errors")
        if cost:
            tokens = cost.get("prompt_tokens", 0) + cost.get("completion_tokens", 0)
            text = f"bill: {cost.get('calls', 0):,.0f} calls, {tokens:,.0f} tokens"
            text += f", {cost.get('cached', 0):,.0f} replies from the cache" if cost.get("cached") else ""
            if cost.get("images"):
                text += f", {cost['images']:,.0f} images sent ({cost.get('image_bytes', 0) / 2**20:,.1f} MiB)"
            out.append(text + (f", {cost['money']:.4f} in money" if cost.get("money") else ""))
        return out


def under(prefix: str, counts: Counter[str]) -> dict[str, Any]:
    """The counts whose name begins so, by the rest of it."""
    return {k.removeprefix(prefix): v for k, v in counts.items() if k.startswith(prefix)}


def counts_first(found: dict[str, float]) -> list[tuple[str, float]]:
    """The most frequent first."""
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def agreement(counts: Counter[str]) -> dict[str, Any] | None:
    """How often judge and people prefer the same (a tie of the judge is half), with Wilson's 95% interval."""
    same, tie, other = (counts[f"agreement: {name}"] for name in ("same", "tie", "other"))
    n = same + tie + other
    if not n:
        return None
    p, z = (same + tie / 2) / n, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return {"share": p, "interval": [centre - half, centre + half], "pairs": n, "ties": tie}


def lists(items: Sequence[Item]) -> list[int]:
    """[n] the list of each response: its row, or rows in a row that belong together."""
    out: list[int] = []
    number, before = -1, None
    for item in items:
        if item.error is None:
            number += before is None or not same_list(before, item)
            out += [number] * len(item.responses)
        before = item
    return out


def pairs_of(source: str, names: Sequence[str], user: str | None, criterion: str | None) -> Iterator[Item]:
    """Each comparison of a feedback file as a row: prompt, two responses, and P(first preferred) by the people."""
    from guerdon.cli.candidates import Item
    from guerdon.cli.reading import read_feedback

    data = read_feedback([source], map=list(names), quiet=True)
    pairs, shown = data.pairs(), data.candidates
    for k in range(len(pairs)):
        a, b = int(pairs.a[k]), int(pairs.b[k])
        responses = [shown.responses[a], shown.responses[b]]
        who = user if user is not None else named(data.users, int(pairs.user[k]))
        what = criterion if criterion is not None else named(data.criteria, int(pairs.criterion[k]))
        row: dict[str, Any] = {"prompt": shown.prompts[a], "responses": responses}
        row |= {key: value for key, value in (("user", who), ("criterion", what)) if value is not None}
        columns = {"user": who, "criterion": what}
        yield Item({**row, "people": float(pairs.p[k])}, shown.prompts[a], responses, True, columns)


def named(table: Sequence[str], code: int) -> str | None:
    """A name by its number, None for -1."""
    return table[code] if code >= 0 else None
