"""Pairs of tool calls from right ones: corrupted by named errors, or what models answered that the matcher refuses.

The input are judgements of answers to prompts that hold a catalogue of functions. Of all answers to a prompt, in one
judgement or in several, the best is right (several that are equally good are all admissible), unless it is rated 0 or
below. What comes of it:

- ``corrupted`` wrong calls are made from the right ones, each with one of eight named errors, drawn with the shares of
  the published benchmark (:data:`guerdon.curate.tool_errors.COUNTS`);
- every other answer to the prompt, recorded of a model, is a rejected one if the matcher refuses it; one that is
  admissible after all is no negative, and counted.

The right calls are told once, in one spelling, and so are the wrong ones. A pair that is equal then is dropped and
counted. With ``obfuscate``, every pair is told again with random names (:mod:`guerdon.curate.tool_names`).

References
----------
Agarwal et al. 2025. ToolRM: Outcome reward models for tool-calling LLMs. https://arxiv.org/abs/2509.11963
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from guerdon.curate.step import Changes, Curated
from guerdon.curate.tool_errors import COUNTS, corrupt
from guerdon.curate.tool_names import obfuscated
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, as_text, pack
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.feedback.tool_calls import calls_in, canonical, fitted, tools_in
from guerdon.reward.verify.tool_match import Truth, admitting, gold_calls, matches

GOLD = ("calls", "admissible")
RECORDED = "recorded"


@dataclass(frozen=True)
class Gold:
    """What is known of a request: truths of which one has to admit an answer, and the first right answer."""

    truths: list[Truth]
    right: str

    def admits(self, response: Text) -> bool:
        """Whether an answer is right."""
        calls = calls_in(response)
        return calls is not None and any(matches(calls, truth) for truth in self.truths)


def tool_pairs(
    feedback: Feedback,
    *,
    corrupted: int = 1,
    recorded: bool = True,
    gold: str = "calls",
    obfuscate: str = "no",
    context: int | None = None,
    seed: int = 0,
) -> Curated:
    """Right tool calls against wrong ones, from judgements of answers of which the best is right.

    Parameters
    ----------
    corrupted : wrong calls made of each right one, with different errors where the calls allow it
    recorded : whether other answers to a prompt become rejected ones where the matcher refuses them
    gold : what the best answers are: calls, or admissible (BFCL's ground truth, a list of values a parameter)
    obfuscate : no, yes (random names in the place of the names), or both (each pair told in both ways)
    context : most characters of a prompt; functions that no call uses are left out to fit; null is no limit
    seed : seeds the errors and the names
    """
    if corrupted < 0:
        raise ConfigError(f"corrupted={corrupted}: use a number of at least 0")
    if gold not in GOLD:
        raise ConfigError(f"gold={gold!r}: use one of {', '.join(GOLD)}")
    if obfuscate not in ("no", "yes", "both"):
        raise ConfigError(f"obfuscate={obfuscate!r}: use no, yes or both")
    changes = Changes(feedback, by="the matcher", using=f"seed {seed}")
    counts: Counter[str] = Counter()
    added: list[Judgement] = []
    why: list[str] = []
    used = np.zeros(len(feedback), bool)
    for rows, judgement in _by_prompt(feedback):
        j = rows[0]
        tools = tools_in(judgement.prompt)
        if tools is None:
            counts["no catalogue"] += 1
            continue
        used[rows] = True
        best = max(judgement.grades)
        if best <= 0:
            counts["no right answer"] += 1
            continue
        truth = _gold(judgement, gold)
        rng = np.random.default_rng([seed, j])
        pairs = _corrupted(truth, tools, corrupted, rng)
        for response in [
            r for r, g in zip(judgement.responses, judgement.grades, strict=True) if recorded and g < best
        ]:
            if truth.admits(response):
                counts["recorded and admissible"] += 1
                continue
            calls = calls_in(response)
            pairs.append((RECORDED, as_text(response).strip() if calls is None else canonical(calls)))
        for error, wrong in pairs:
            if wrong == truth.right:
                counts["equal in one spelling"] += 1
                continue
            prompt, cut = _within(judgement.prompt, truth.right, wrong, context)
            counts["functions left out to fit"] += cut
            told: list[tuple[str, Text, list[Text]]] = [("", prompt, [truth.right, wrong])]
            if obfuscate != "no":
                new = obfuscated(prompt, [truth.right, wrong], rng)
                assert new is not None  # it has a catalogue
                told = [*told[: obfuscate == "both"], ("/obfuscated", *new)]
            for mark, asked, (right, bad) in told:
                name = f"{judgement.id or j}/{error}/{len(added)}{mark}"
                added.append(Judgement(asked, (right, bad), (1.0, 0.0), source="rule", subset=error, id=name))
                why.append(f"wrong by the matcher: {error}{mark.replace('/', ', ')}, from judgement {j}")
            counts[error] += 1
    if not used.any():
        raise FeedbackError(
            f"none of the {len(feedback)} prompts has a catalogue of functions that can be read; give it as a JSON "
            "list of {name, description, parameters} in the system message"
        )
    changes.drop(used, why="told as pairs of a right and a wrong answer, as far as there is a right one")
    changes.drop(~used, why="no catalogue of functions can be read in the prompt")
    if added:
        changes.add(added, why=why, confidence=1.0)
    return changes.done(figures={"pairs": {k: v for k, v in sorted(counts.items()) if v}})


def _by_prompt(feedback: Feedback) -> list[tuple[list[int], Judgement]]:
    """(judgements of a prompt, all its distinct answers with the best grade that each has), in order."""
    groups: dict[str, tuple[list[int], Judgement, dict[str, tuple[Text, float]]]] = {}
    for j, judgement in enumerate(feedback.judgements()):
        rows, _, answers = groups.setdefault(pack(judgement.prompt), ([], judgement, {}))
        rows.append(j)
        for response, grade in zip(judgement.responses, judgement.grades, strict=True):
            key = pack(response)
            answers[key] = (response, max(grade, answers[key][1]) if key in answers else grade)
    return [
        (rows, replace(first, responses=[r for r, _ in a.values()], grades=[g for _, g in a.values()]))
        for rows, first, a in groups.values()
    ]


def _gold(judgement: Judgement, kind: str) -> Gold:
    """What the best answers of a judgement say."""
    best = max(judgement.grades)
    texts = [r for r, g in zip(judgement.responses, judgement.grades, strict=True) if g == best]
    if kind == "admissible":
        truths = [_truth(text) for text in texts]
        return Gold(truths, canonical(gold_calls(truths[0])))
    found = [(text, calls_in(text)) for text in texts]
    for text, calls in found:
        if calls is None:
            raise FeedbackError(
                f"the best answer {as_text(text)[:60]!r} is no list of calls; tell calls as [{{function: {{parameter: "
                "value}}}}], with name and arguments, in <tool_call> tags or as tool_calls of a message"
            )
    return Gold([admitting(calls) for _, calls in found if calls is not None], canonical(found[0][1]))


def _truth(text: Text) -> Truth:
    try:
        truth: Any = json.loads(as_text(text))
    except json.JSONDecodeError:
        truth = None
    good = isinstance(truth, list) and all(
        isinstance(c, dict) and len(c) == 1 and all(isinstance(v, list) for g in c.values() for v in dict(g).values())
        for c in truth
    )
    if not good:
        raise FeedbackError(
            f"gold=admissible: {as_text(text)[:60]!r} is no list of {{function: {{parameter: [admissible values]}}}}; "
            "use gold=calls for plain calls"
        )
    return truth


def _corrupted(truth: Gold, tools: list[Any], count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """``count`` (error, wrong answer): errors drawn with the published shares, each at most once if they suffice.

    An answer that another admissible truth allows is none.
    """
    out: list[tuple[str, str]] = []
    names = list(COUNTS)
    chance = np.array(list(COUNTS.values()), dtype=float)
    for _ in range(count):
        left = chance.copy()
        left[[names.index(e) for e, _ in out]] = 0
        while left.any():
            k = int(rng.choice(len(names), p=left / left.sum()))
            left[k] = 0
            wrong = corrupt(names[k], truth.truths[0], tools, rng)
            if wrong is not None and not truth.admits(wrong):
                out.append((names[k], wrong))
                break
    return out


def _within(prompt: Text, right: str, wrong: str, context: int | None) -> tuple[Text, int]:
    if context is None:
        return prompt, 0
    used = {name for text in (right, wrong) for call in calls_in(text) or () for name in call}
    return fitted(prompt, used, context)
