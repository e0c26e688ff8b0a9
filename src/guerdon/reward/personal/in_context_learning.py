"""From a few dozen choices of a person to what a judge should be shown of them: a persona, and some of the choices.

For each person, choices in the order in which they were made, the first 70 % to learn from, the last held out:

1. *Bootstrap.* The judge supposes one to three things about the person and says what they would choose, with a few
   other choices of theirs beside it. Reasoning that leads to what they did choose is kept, all other is not: it is
   verified by its outcome.
2. *Search* (:mod:`.in_context_search`) for the choices to show, with or without their reasoning, on those held out.
3. *Persona.* The language model writes what they say of the person.
4. *Bootstrap and search again*, with the persona shown; to show the persona alone is now one of the candidates.

What is held out is never shown, and never in what it is tried with. All people advance together, so that a step is one
batch. Of lists, the best and the worst response are the choice; ties are left out.

Reference: Ryan et al. 2025, SynthesizeMe, https://arxiv.org/abs/2506.05598 (the split in time, candidates, stop)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Message, Text
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import total
from guerdon.reward.personal.in_context import Choice, PersonalPrompt
from guerdon.reward.personal.in_context_judge import PersonalJudge
from guerdon.reward.personal.in_context_search import Found, ask, demonstrations, search

FEWEST = 4
"""Choices that a person must have made: three to learn from, one held out."""
WRITE = """\
These are choices of one person: what they asked for, the response they chose and the one they did not choose, and \
where there is one a supposition why. Write who this person is as a reader of responses, in at most {{ words }} words: \
what they like and dislike in a response, so that somebody who knows only this can tell what they will choose next. \
Say nothing that the choices do not show, and name no request.

Reply with a JSON object: "persona", the description."""

Progress = Callable[[str, int, int], None]


@dataclass
class Learned:
    """What was learned: prompts by person, the best choices to show without a persona, why others have none, totals."""

    people: dict[str, PersonalPrompt]
    choices_alone: dict[str, PersonalPrompt] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)


class PersonaLearner:
    """Makes personal prompts.

    Parameters
    ----------
    learn_share : share of a person's choices to learn from, the earliest ones; the others are held out
    most_labelled : most choices shown without reasoning
    candidates : random sets of choices that are tried, beside the labelled ones and all verified ones
    stop_at : a person is settled when a candidate is right in this share of what is held out
    verify : keep only reasoning that leads to the person's choice (False is for comparison)
    room : most characters of choices shown; the oldest are dropped
    words : most words of a persona
    seed : draws of candidates
    settings : those of the judge; it is asked once a choice and gives reasons, so ``how`` is json where it is auto
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        learn_share: float = 0.7,
        most_labelled: int = 4,
        candidates: int = 10,
        stop_at: float = 0.8,
        verify: bool = True,
        room: int = 24_000,
        words: int = 150,
        seed: int = 42,
        **settings: Any,
    ) -> None:
        if not 0 < learn_share < 1:
            raise ConfigError(f"learn_share={learn_share}: use a share between 0 and 1")
        for name, value, low in (("most_labelled", most_labelled, 0), ("candidates", candidates, 0), ("room", room, 1)):
            if value < low:
                raise ConfigError(f"{name}={value}: use a number of at least {low}")
        how = settings.pop("how", "auto")
        if how == "labels":
            raise ConfigError("how=labels gives no reasons to learn from; use json or text")
        self.model, self.learn_share, self.most_labelled = model, learn_share, most_labelled
        self.candidates, self.stop_at, self.verify = candidates, stop_at, verify
        self.room, self.words, self.seed = room, words, seed
        self.settings = {"how": "json" if how == "auto" else how, "order": "given", "ties": False} | settings

    def calls(self, choices: Mapping[str, Sequence[Choice]]) -> int:
        """The most questions that learning asks."""
        out = 0
        for mine in choices.values():
            known = self.split(mine)[0]
            out += 2 * len(known) + (2 * self.candidates + 5) * (len(mine) - len(known)) + 1
        return out

    def split(self, choices: Sequence[Choice]) -> tuple[list[Choice], list[Choice]]:
        """(those to learn from, those held out), in time."""
        cut = min(max(round(self.learn_share * len(choices)), 1), len(choices) - 1)
        return list(choices[:cut]), list(choices[cut:])

    def learn(self, feedback: Feedback, tick: Progress = lambda step, done, whole: None) -> Learned:
        """A prompt for each person of the feedback with at least four choices.

        Raises
        ------
        FeedbackError
            if nobody has
        """
        every = choices_of(feedback)
        enough = {user: mine for user, mine in every.items() if len(mine) >= FEWEST}
        left_out = {
            user: f"{len(mine)} choices; {FEWEST - len(mine)} more are needed"
            for user, mine in every.items()
            if user not in enough
        }
        if not enough:
            raise FeedbackError(
                f"persona: nobody among {len(every)} people made {FEWEST} choices; give feedback with a user column "
                "and comparisons that are no ties"
            )
        parts = {user: self.split(mine) for user, mine in enough.items()}
        nothing = {user: PersonalPrompt() for user in enough}
        cost: dict[str, float] = {}
        alone = {u: [("nothing", p)] for u, p in nothing.items()}
        base, cost = self._search(alone, parts, cost, tick, "trying nothing")
        verified, cost = self._bootstrap(nothing, parts, cost, tick, "finding reasons")
        sets = {u: self._sets(parts[u][0], verified[u]) for u in enough}
        plain = {u: [(name, PersonalPrompt("", shown)) for name, shown in sets[u]] for u in enough}
        first, cost = self._search(plain, parts, cost, tick, "choosing choices")
        personas, cost = self._write({u: first[u].best.choices for u in enough}, cost, tick)
        described = {u: PersonalPrompt(personas[u]) for u in enough}
        again, cost = self._bootstrap(described, parts, cost, tick, "finding reasons with the persona")
        tried = {}
        for u in enough:
            sets = self._sets(parts[u][0], again[u])
            tried[u] = [
                ("persona", described[u]),
                *((name, PersonalPrompt(personas[u], shown)) for name, shown in sets),
            ]
        second, cost = self._search(tried, parts, cost, tick, "choosing choices with the persona")
        people = {
            user: replace(second[user].best, report=self._report(user, parts[user], base, first, second, again))
            for user in enough
        }
        return Learned(people, {u: first[u].best for u in enough}, left_out, cost)

    def _report(
        self,
        user: str,
        part: tuple[list[Choice], list[Choice]],
        base: Mapping[str, Found],
        first: Mapping[str, Found],
        second: Mapping[str, Found],
        verified: Mapping[str, Sequence[Choice]],
    ) -> dict[str, Any]:
        shown = second[user].best.choices
        return {
            "choices": len(part[0]) + len(part[1]),
            "held_out": len(part[1]),
            "verified": len(verified[user]),
            "accuracy": second[user].accuracy,
            "accuracy_of_nothing": base[user].accuracy,
            "without_persona": first[user].table,
            "with_persona": second[user].table,
            "shown": len(shown),
        }

    def _make(self, shown: Mapping[str, PersonalPrompt]) -> PersonalJudge:
        return PersonalJudge(self.model, shown, **self.settings)

    def _sets(self, labelled: list[Choice], verified: list[Choice]) -> list[tuple[str, tuple[Choice, ...]]]:
        made = demonstrations(
            labelled, verified, candidates=self.candidates, most_labelled=self.most_labelled, seed=self.seed
        )
        return [(name, self._fitting(shown)) for name, shown in made]

    def _fitting(self, shown: Sequence[Choice]) -> tuple[Choice, ...]:
        """The choices, without the oldest ones where they do not fit."""
        kept = list(shown)
        while len(kept) > 1 and sum(c.size for c in kept) > self.room:
            kept.pop(0)
        return tuple(kept)

    def _search(
        self,
        tried: Mapping[str, Sequence[tuple[str, PersonalPrompt]]],
        parts: Mapping[str, tuple[list[Choice], list[Choice]]],
        cost: dict[str, float],
        tick: Progress,
        step: str,
    ) -> tuple[dict[str, Found], dict[str, float]]:
        whole = sum(len(c) * len(parts[u][1]) for u, c in tried.items())
        done = 0

        def on(rows: int) -> None:
            nonlocal done
            done += rows
            tick(step, done, whole)

        held_out = {u: part[1] for u, part in parts.items()}
        found = search(self._make, tried, held_out, stop_at=self.stop_at, cost=cost, tick=on)
        tick(step, whole, whole)
        return found

    def _bootstrap(
        self,
        prompts: Mapping[str, PersonalPrompt],
        parts: Mapping[str, tuple[list[Choice], list[Choice]]],
        cost: dict[str, float],
        tick: Progress,
        step: str,
    ) -> tuple[dict[str, list[Choice]], dict[str, float]]:
        """Choices with reasoning by person: what the judge said with some other choices of theirs beside it."""
        rows, owner = [], []
        for user, (known, _) in parts.items():
            rng = np.random.default_rng([self.seed, len(known)])
            for i, choice in enumerate(known):
                others = [j for j in range(len(known)) if j != i]
                beside = sorted(rng.permutation(others)[: self.most_labelled].tolist())
                shown = self._fitting([known[j] for j in beside])
                rows.append((replace(prompts[user], choices=shown), choice))
                owner.append(user)
        tick(step, 0, len(rows))
        answers, cost = ask(self._make, rows, cost)
        tick(step, len(rows), len(rows))
        out: dict[str, list[Choice]] = {user: [] for user in parts}
        for user, (_, choice), answer in zip(owner, rows, answers, strict=True):
            if answer.right and answer.reasoning:
                out[user].append(replace(choice, reasoning=answer.reasoning))
            elif answer.right is False and answer.reasoning and not self.verify:
                wrong = Choice(choice.request, choice.other, choice.chosen, answer.reasoning)
                out[user].append(wrong)
        return out, cost

    def _write(
        self, shown: Mapping[str, Sequence[Choice]], cost: dict[str, float], tick: Progress
    ) -> tuple[dict[str, str], dict[str, float]]:
        """A persona a person; empty where the model writes none."""
        tick("writing personas", 0, len(shown))
        asked = [persona_question(self._fitting(choices), self.words) for choices in shown.values()]
        replies = self.model.generate(asked, schema=SCHEMA, seed=self.seed)
        out = {}
        for user, reply in zip(shown, replies.rows, strict=True):
            out[user] = read_persona(reply.parsed if reply.parsed is not None else reply.text, self.words)
        tick("writing personas", len(shown), len(shown))
        return out, total(cost, replies.cost)


SCHEMA: Mapping[str, Any] = {
    "title": "persona",
    "type": "object",
    "properties": {"persona": {"type": "string"}},
    "required": ["persona"],
    "additionalProperties": False,
}


def persona_question(choices: Sequence[Choice], words: int) -> list[Message]:
    """The request for a persona."""
    blocks = PersonalPrompt("", tuple(choices)).blocks()
    fence, _ = templates.codes([text for _, text in blocks], "persona")
    shown = [(name, templates.harmless(text)) for name, text in blocks]
    body = templates._compiled(f"{templates.SYSTEM}\n\n{templates.SHOWN}{WRITE}").render(
        fence=fence, blocks=shown, words=words
    )
    return [{"role": "user", "content": body.strip()}]


def read_persona(reply: Any, words: int) -> str:
    """The persona of a reply in at most twice the words asked for; empty where it has none."""
    if isinstance(reply, str):
        try:
            reply = json.loads(reply[reply.find("{") : reply.rfind("}") + 1])
        except (ValueError, RecursionError):
            return ""
    text = reply.get("persona") if isinstance(reply, Mapping) else None
    return " ".join(text.split()[: 2 * words]) if isinstance(text, str) else ""


def choices_of(feedback: Feedback) -> dict[str, list[Choice]]:
    """Choices by person in the order in which they were made: by time where that is known, else as they stand."""
    when = feedback.time if feedback.time is not None else np.full(len(feedback), np.nan)
    order = np.lexsort((np.arange(len(feedback)), np.where(np.isnan(when), np.inf, when)))
    out: dict[str, list[Choice]] = {user: [] for user in feedback.users}
    for j in order.tolist():
        begin, end = int(feedback.offsets[j]), int(feedback.offsets[j + 1])
        grades = feedback.grades[begin:end]
        if feedback.user[j] < 0 or end - begin < 2 or grades.max() == grades.min():
            continue
        best, worst = begin + int(grades.argmax()), begin + int(grades.argmin())
        request, chosen = _texts(feedback, best)
        out[feedback.users[feedback.user[j]]].append(Choice(request, chosen, _texts(feedback, worst)[1]))
    return out


def _texts(feedback: Feedback, place: int) -> tuple[Text, Text]:
    """(prompt, response) of a judged response."""
    return feedback.candidate(int(feedback.items[place]))
