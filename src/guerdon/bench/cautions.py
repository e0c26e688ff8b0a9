"""What to be careful about, in plain words: the sentences a sceptical colleague would say about an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from guerdon.bench.intervals import Figure

if TYPE_CHECKING:
    from guerdon.bench.evaluate import Evaluation

COIN = float(np.log(2))
"""Log-loss of answering 1/2."""

MANY_TEXTS = 300
"""With fewer responses than this, intervals over people are said to hold for these texts only."""


def cautions(result: Evaluation) -> list[str]:
    """Sentences about ``result``, the gravest first; empty if there is nothing to warn of."""
    if not result.counts["answered"]:
        return [f"The reward scored none of the {result.counts['pairs']} pairs; there is nothing to conclude."]
    lines: list[str] = []
    for part in (_chance, _baselines, _length, _overlap, _missing, _calibration, _people, _shots, _data):
        lines += part(result)
    return lines


def _chance(result: Evaluation) -> list[str]:
    accuracy = result.overall["accuracy"]
    if np.isnan(accuracy.value):
        return ["No pair has a preferred side, so accuracy cannot be measured."]
    if accuracy.high < 0.5:
        return [
            f"Accuracy {accuracy} is below chance: the reward prefers what people reject. Is its sign, or the order "
            "of the grades, reversed?"
        ]
    if accuracy.low <= 0.5 or (np.isnan(accuracy.low) and accuracy.value <= 0.5):
        return [f"Accuracy {accuracy} cannot be told from a coin."]
    return []


def _baselines(result: Evaluation) -> list[str]:
    lines = []
    strangers = result.shots is not None and result.counts.get("people_unknown", 0) > 0
    subject = "Without a vote of theirs, this reward" if strangers else "This reward"
    for baseline in result.baselines:
        gap, theirs = baseline.difference["accuracy"], baseline.figures["accuracy"]
        if np.isnan(gap.value) or baseline.name == "random":
            continue
        numbers = f"accuracy {theirs.value + gap.value:.3f} against {theirs.value:.3f}, difference {signed(gap)}"
        if baseline.answered < 0.999:
            numbers += f", on the {baseline.answered:.0%} of the pairs that the baseline answers"
        if baseline.name == "as-nobody":
            if gap.high < 0:
                lines.append(f"Knowing who asks makes this reward worse here: {numbers}.")
            elif not gap.low > 0:
                lines.append(f"Knowing who asks does not measurably help here: {numbers}.")
        elif gap.high < 0:
            lines.append(f"{subject} is worse than the {baseline.name} baseline ({baseline.what}): {numbers}.")
        elif not gap.low > 0:
            lines.append(f"{subject} does not beat the {baseline.name} baseline ({baseline.what}): {numbers}.")
    return lines


def _length(result: Evaluation) -> list[str]:
    by = {g.name: g.figures["accuracy"] for g in result.groups if g.kind == "length"}
    longer, shorter = by.get("the preferred is longer"), by.get("the preferred is shorter")
    if longer is None or shorter is None or not abs(longer.value - shorter.value) > 0.3:
        return []
    side = "longer" if longer.value > shorter.value else "shorter"
    high, low = max(longer.value, shorter.value), min(longer.value, shorter.value)
    return [
        f"It leans on length: right in {high:.0%} of the pairs where people prefer the {side} response, in {low:.0%} "
        "where they prefer the other. A policy trained on it will learn that first."
    ]


def _overlap(result: Evaluation) -> list[str]:
    seen = result.data.get("overlap", {})
    lines = []
    if seen.get("same_vote", 0) > 0:
        lines.append(
            f"{seen['same_vote']:.1%} of the test pairs were judged by the same person (or anonymously) in the "
            "training feedback: these figures are too good. Split with: guerdon fit --split prompt"
        )
    elif seen.get("candidates", 0) > 0.01:
        lines.append(
            f"{seen['candidates']:.0%} of the test pairs are between candidates that training has seen (judged by "
            "others): the figures speak about new people, not about new texts."
        )
    elif seen.get("prompt", 0) > 0.01:
        lines.append(f"{seen['prompt']:.0%} of the test pairs are on prompts that training has seen.")
    return lines


def _missing(result: Evaluation) -> list[str]:
    counts, lines = result.counts, []
    if counts["unscored"]:
        why = "; ".join(f"{n} x {reason}" for reason, n in list(result.unscored.items())[:3])
        share = counts["unscored"] / counts["pairs"]
        lines.append(
            f"{counts['unscored']} of {counts['pairs']} pairs ({share:.1%}) are unscored and left out ({why}); the "
            "figures are about the rest."
        )
    if counts["predicted_ties"] > 0.01 * counts["answered"]:
        share = counts["predicted_ties"] / counts["answered"]
        lines.append(f"It cannot tell the two apart in {share:.1%} of the pairs; these count as half right.")
    return lines


def _calibration(result: Evaluation) -> list[str]:
    loss, accuracy = result.overall["log_loss"], result.overall["accuracy"]
    if loss.low > COIN and accuracy.low > 0.5:
        return [
            f"Its scores are no log-odds: log-loss {loss} is worse than a coin's {COIN:.3f} although it ranks better "
            "than one. Read its accuracy, not its probabilities."
        ]
    ece, floor, over = (result.overall[k] for k in ("ece", "ece_by_chance", "overconfidence"))
    if np.isnan(floor.value) or ece.value < 0.02 or ece.value < 2 * floor.value or over.low <= 0 <= over.high:
        return []
    which, verb = ("overconfident", "more") if over.value > 0 else ("underconfident", "less")
    return [
        f"Its probabilities are {which}: on average {abs(over.value):.3f} {verb} sure than it is right (calibration "
        f"error {ece}; a calibrated reward would show {floor.value:.3f} on so many pairs)."
    ]


def _people(result: Evaluation) -> list[str]:
    lines = []
    unknown = result.counts.get("people_unknown", 0)
    if unknown and result.shots is None:
        lines.append(
            f"{unknown} of {result.counts['people']} people are unknown to this reward and were given the "
            "population's view; --shots measures what a few judgements of theirs would change."
        )
    deciles = result.people.get("deciles")
    if deciles and deciles[0]["accuracy"] < deciles[0]["by_chance"] - 0.1:
        worst = deciles[0]
        lines.append(
            f"It serves some people badly: the worst-served tenth sees an accuracy of {worst['accuracy']:.2f}; luck "
            f"alone would give {worst['by_chance']:.2f}."
        )
    return lines


def _shots(result: Evaluation) -> list[str]:
    if result.shots is None:
        return []
    last = result.shots.points[-1]
    gain = last.gain["accuracy"]
    what = f"{last.shots} comparisons a person change accuracy on unseen people by {signed(gain)}"
    if gain.high < 0:
        return [f"Adapting hurts here: {what}."]
    return [] if gain.low > 0 else [f"Adapting does not measurably help here: {what}."]


def _data(result: Evaluation) -> list[str]:
    lines = []
    if "too narrow" in " ".join(result.notes):
        lines += [f"Intervals: {note}." for note in result.notes if "too narrow" in note]
    few = result.counts["candidates"]
    if result.settings["intervals_over"] == "people" and few < MANY_TEXTS:
        lines.append(
            f"All of this is about the same {few} responses: the intervals say what to expect of other people on these "
            "texts, not on other texts."
        )
    model = result.data.get("share_by_model", 0)
    if model > 0.01:
        lines.append(f"{model:.0%} of the judgements are a model's, not people's.")
    return lines


def signed(figure: Figure) -> str:
    """``+0.012 [-0.003, +0.027]``; ``-`` where there is nothing to measure."""
    if np.isnan(figure.value):
        return "-"
    value, low, high = (f"{plain_zero(v, 3):+.3f}" for v in (figure.value, figure.low, figure.high))
    return value if np.isnan(figure.low) else f"{value} [{low}, {high}]"


def plain_zero(value: float, digits: int) -> float:
    """``value`` to so many digits, without a sign where that is zero."""
    return round(value, digits) + 0.0
