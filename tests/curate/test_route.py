"""Routing: ranges, mixtures, the ridge against scikit-learn, the verdict, the step, and real people beside GPT-4."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guerdon.curate.mixture_regression import PENALTIES, Boosted, Ridge, fit_predictor
from guerdon.curate.properties import Ranges, textual
from guerdon.curate.registry import step
from guerdon.curate.route import MixtureQuality, Pilot, Router, Workbench, mixtures
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback


def test_a_value_on_an_edge_is_in_exactly_one_range() -> None:
    values = {"cosine": np.array([0.0, 1 / 3, 0.5, 2 / 3, 1.0]), "longer length": np.array([1.0, 1, 2, 3, 3])}
    ranges = Ranges.of(values, {"subset": ["x", "y", "x", None, "y"]})
    has = ranges.has(values, {"subset": ["x", "y", "x", None, "y"]})
    assert (has[:, :3].sum(1) == 1).all()
    assert (has[:, 3:6].sum(1) == 1).all()
    assert has[:, :3].argmax(1).tolist() == [0, 1, 1, 2, 2]
    assert has[:, 6:].sum(1).tolist() == [1, 1, 1, 0, 1]
    assert len(ranges.properties) == has.shape[1] == 8


def test_lengths_are_cut_on_the_whole_set_and_not_on_what_is_left() -> None:
    length = np.arange(90.0)
    ranges = Ranges.of({"prompt length": length})
    part = ranges.has({"prompt length": length[:30]})
    assert part[:, 0].all()  # all of them short, as they were in the whole set


def test_textual_properties_say_what_they_say() -> None:
    from guerdon.encode import load_encoder

    same, other = "The Eiffel Tower is 330 metres tall in Paris", "bake bread slowly at home with water"
    found = textual(["q", "q w"], [same, same], [same, other], load_encoder("hash:64"))
    for name in ("entity overlap", "cosine", "rouge", "bertscore", "bertscore, length-adjusted"):
        assert found[name][0] == pytest.approx(1.0, abs=1e-5), name
        assert 0 <= found[name][1] < 0.9, name
    assert found["length difference"].tolist() == [0.0, 2.0]
    assert found["prompt length"].tolist() == [1.0, 2.0]


def test_mixtures_vary_properties_and_keep_to_their_budget() -> None:
    has = np.random.default_rng(0).random((300, 6)) < 0.2
    tried = mixtures(has, 200, seed=1)
    assert tried.sum(1).min() >= 1
    assert tried.sum(1).std() > 60  # sizes are spread over 1..n
    assert (mixtures(has, 20, seed=1, budget=50).sum(1) == 50).all()
    assert (tried == mixtures(has, 200, seed=1)).all()
    share = (tried.astype(float) @ has) / tried.sum(1, keepdims=True)
    assert share[tried.sum(1) < 150].std(0).mean() > 0.03


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_the_ridge_is_that_of_scikit_learn(kind: str) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 100, (80, 5)).astype(float)
    quality = counts @ rng.normal(size=5) * 0.01 + 0.1 * rng.normal(size=80)
    found = Ridge.fit(counts, quality, kind)
    x = (counts - counts.mean(0)) / counts.std(0)
    if kind == "quadratic":
        i, j = np.triu_indices(5)
        x = np.concatenate([x, x[:, i] * x[:, j]], 1)
    errors = []
    for l2 in PENALTIES:  # leave one out, the slow way
        left = []
        for row in range(0, 80, 1):
            keep = np.arange(80) != row
            model = linear_model.Ridge(alpha=l2).fit(x[keep], quality[keep])
            left.append((model.predict(x[row : row + 1])[0] - quality[row]) ** 2)
        errors.append(np.mean(left))
    assert found.l2 == pytest.approx(PENALTIES[int(np.argmin(errors))])
    oracle = linear_model.Ridge(alpha=found.l2).fit(x, quality)
    assert found(counts) == pytest.approx(oracle.predict(x), abs=1e-8)


def world(seed: int, structure: bool) -> tuple[np.ndarray, MixtureQuality]:
    rng = np.random.default_rng([seed, 7])
    z, test, w, biased = rng.normal(size=(1200, 8)), rng.normal(size=(1500, 8)), *rng.normal(size=(2, 8))
    has = rng.random((1200, 10)) < 0.25
    truth, hard = z @ w > 0, has[:, :2].any(1)
    if structure:
        human = truth ^ (rng.random(1200) > np.where(hard, 0.97, 0.6))
        judge = np.where(hard, z @ (biased - w) > 0, truth ^ (rng.random(1200) > 0.93))
    else:
        human, judge = truth ^ (rng.random(1200) > 0.9), truth ^ (rng.random(1200) > 0.9)
    return has, MixtureQuality(z, human * 1.0, judge * 1.0, test, (test @ w > 0) * 1.0, size=1000, seed=seed)


def test_routing_finds_the_properties_that_matter_and_beats_chance() -> None:
    has, quality = world(0, structure=True)
    router = Router.learn(has, quality, count=80, seed=0)
    assert router.routable
    assert {name for name, _ in router.coefficients()[:2]} == {"property 0", "property 1"}
    routed = router.route(has, 400)
    assert routed.sum() == 400
    chance = np.mean([quality(np.random.default_rng(s).permutation(1200) < 400) for s in range(5)])
    assert quality(routed) > chance + 0.04
    assert quality(router.route(has, 400, how="simulate")) > chance
    assert quality(router.route(has, "optimal")) > chance


def test_without_structure_the_verdict_says_so() -> None:
    verdicts = [Router.learn(*world(seed, structure=False), count=60, seed=seed) for seed in range(3)]
    assert [v.routable for v in verdicts] == [False] * 3
    assert verdicts[0].verdict.startswith("no routable structure")


def test_quality_does_not_follow_the_number_of_pairs_or_the_run() -> None:
    has, quality = world(1, structure=True)
    assert quality(has[:, 0]) == quality(has[:, 0])
    assert Router.learn(has, quality, count=20).figures["quality_noise"] == 0


def two_kinds(n: int = 160) -> Feedback:
    """Long answers: people are right and the judge is not; short ones: the other way round."""
    rng = np.random.default_rng(3)
    rows = []
    for i in range(n):
        long = i % 2 == 0
        filler = " ".join(rng.choice(["alpha", "beta", "gamma", "delta"], 40 if long else 4))
        good, bad = f"kind helpful warm {filler} {i}", f"rude cold angry {filler} {i}"
        human = 1.0 if long or rng.random() < 0.5 else 0.0
        judge = 0.0 if long else 1.0
        rows.append(Judgement(f"question {i}", (good, bad), (human, 1 - human), source="human"))
        rows.append(Judgement(f"question {i}", (bad, good), (1 - judge, judge), source="model"))
    rows.append(Judgement("tied", ("a", "b"), (1.0, 1.0), source="human"))
    rows.append(Judgement("tied", ("a", "b"), (1.0, 0.0), source="model"))
    rows += [Judgement(f"new {i}", (f"x {i}", f"y z {i}"), (1.0, 0.0), source="model") for i in range(4)]
    return Feedback.of(rows)


def test_a_pilot_pairs_the_two_labels_and_drops_ties_in_both_arms() -> None:
    feedback = two_kinds()
    pilot = Pilot.of(feedback)
    assert (len(pilot.a), pilot.tied, len(pilot.alone)) == (160, 1, 4)
    assert (pilot.human == 1)[::2].mean() == 1.0  # whichever response was shown first
    assert (pilot.other == 0)[::2].mean() == 1.0
    with pytest.raises(FeedbackError, match="label of both kinds"):
        Pilot.of(feedback.where(source="human"))
    with pytest.raises(ConfigError, match="no source"):
        Pilot.of(feedback, other="gpt4")


def test_the_step_keeps_one_label_of_each_instance_and_asks_about_new_ones(tmp_path: Path) -> None:
    feedback, queue = two_kinds(), tmp_path / "q.jsonl"
    found = step("route")(
        feedback, encoder="hash:64", mixtures=40, budget=0.5, queue=str(queue), force=True, holdout=0.3
    )
    assert found.report["instances"] == 160
    assert found.report["to_people"] == 80
    out = found.feedback
    assert len(Pilot.of(feedback).a) + 2 + 4 == len(out)
    assert list(found.undo().judgements()) == list(feedback.judgements())
    assert len(queue.read_text().splitlines()) == found.report["asked"] == 2
    left = step("route")(feedback.where(source=["human", "model"]), encoder="hash:64", mixtures=20, holdout=0.3)
    assert len(left.feedback) == len(feedback) or left.report["routable"]
    with pytest.raises(ConfigError, match="share in"):
        step("route")(feedback, budget=2.0)


def test_mt_bench_people_and_gpt_4(shared_data: Path, tmp_path: Path) -> None:
    """Expert votes beside GPT-4's verdicts: there is nothing to route by, and forced routing gains nothing."""
    source = shared_data / "mtbench_human"
    if not source.is_dir():
        pytest.skip("mtbench_human is not among the real data here")
    feedback = mt_bench(source, tmp_path)
    pilot = Pilot.of(feedback)
    assert 700 < len(pilot.a) < 1400
    assert 0.75 < np.mean(pilot.human == pilot.other) < 0.92
    gains = []
    for seed in range(2):
        work = Workbench.of(feedback, pilot, "hash:128", l2=1e-2, seed=seed)
        gain, routable = gain_at_half(work, seed)
        gains.append(gain)
        assert not routable
    assert abs(np.mean(gains)) < 0.03


def gain_at_half(work: Workbench, seed: int, count: int = 60) -> tuple[float, bool]:
    """Routed minus random at half the labels, on one half of the held-out comparisons; the other half taught. And
    whether the router found something to route by."""
    one = np.random.default_rng(seed).random(len(work.quality.truth)) < 0.5
    teach = replace(work.quality, test=work.quality.test[one], truth=work.quality.truth[one])
    final = replace(work.quality, test=work.quality.test[~one], truth=work.quality.truth[~one])
    has = work.has[work.train]
    router, n = Router.learn(has, teach, count=count, seed=seed), len(has) // 2
    chance = np.mean([final(np.random.default_rng(s).permutation(len(has)) < n) for s in range(5)])
    return float(final(router.route(has, n)) - chance), router.routable


def test_rmb_and_the_rule_that_longer_is_better(shared_data: Path, tmp_path: Path) -> None:
    """Card 097, check 5: given labels are people's, the judge is a length rule; what is applied must not hurt.

    The card wants routed >= random even so: forced routing was 1.1 points below random over 5 seeds of 1,500 pairs.
    """
    path = shared_data / "rmb" / "rmb.jsonl.gz"
    if not path.is_file():
        pytest.skip("rmb is not among the real data here")
    feedback = with_length_rule(path, tmp_path, 800)
    pilot = Pilot.of(feedback)
    assert len(pilot.a) > 700
    found = [gain_at_half(Workbench.of(feedback, pilot, "hash:128", l2=1e-2, seed=s), s) for s in range(3)]
    assert np.mean([gain if routable else 0.0 for gain, routable in found]) >= -0.005


def with_length_rule(path: Path, folder: Path, count: int) -> Feedback:
    """Some RMB pairs as people's labels, and beside each what the rule "longer is better" says."""
    pairs = Feedback.read(path, format="rmb-pairwise", skip_bad=folder / "bad.jsonl")
    people = pairs.take(np.sort(np.random.default_rng(97).permutation(len(pairs))[:count]))
    rows = [replace(j, source="human", user=None, id=None) for j in people.judgements()]
    lengths = [[float(len(as_text(r))) for r in j.responses] for j in rows]
    rule = [replace(j, source="rule", grades=tuple(n)) for j, n in zip(rows, lengths, strict=True)]
    return Feedback.of([*rows, *[replace(r, source="model") for r in rule]])


def mt_bench(source: Path, folder: Path) -> Feedback:
    """Votes of people (without the authors' own) and GPT-4's verdicts as one feedback."""
    parts = []
    for name in ("votes", "gpt4_pair"):
        target = folder / name
        target.mkdir(exist_ok=True)
        (target / "answers.jsonl.gz").write_bytes((source / "answers.jsonl.gz").read_bytes())
        lines = [json.loads(s) for s in gzip.decompress((source / f"{name}.jsonl.gz").read_bytes()).splitlines()]
        with gzip.open(target / "votes.jsonl.gz", "wt", encoding="utf-8") as stream:
            for row in lines:
                stream.write(json.dumps({**row, "judge": "gpt-4" if name == "gpt4_pair" else row["judge"]}) + "\n")
        parts.append(Feedback.read(target, skip_bad=target / "bad.jsonl"))
    return Feedback.concatenate(parts)


# ------------------------------------------------------------------ trees, and which regression is the best one


def test_trees_find_a_threshold_that_a_line_cannot_and_auto_takes_them() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 100, (400, 4)).astype(float)
    quality = 0.6 + 0.2 * ((counts[:, 0] > 30) & (counts[:, 0] < 70)) + 0.005 * rng.normal(size=400)
    new = rng.integers(0, 100, (200, 4)).astype(float)
    truth = 0.6 + 0.2 * ((new[:, 0] > 30) & (new[:, 0] < 70))
    error = {k: np.mean((fit_predictor(counts, quality, k)(new) - truth) ** 2) for k in ("linear", "boosted")}
    assert error["boosted"] < 0.2 * error["linear"]
    assert fit_predictor(counts, quality, "auto").kind == "boosted"
    straight = 0.5 + 0.002 * counts[:, 1] + 0.005 * rng.normal(size=400)
    assert fit_predictor(counts, straight, "auto").kind == "linear"


def test_the_gain_of_trees_is_highest_for_the_property_that_helps() -> None:
    rng = np.random.default_rng(1)
    has = rng.random((300, 6)) < 0.3
    tried = mixtures(has, 200, 1)
    counts = tried.astype(float) @ has
    quality = 0.6 + 0.002 * counts[:, 2] - 0.001 * counts[:, 4] + 0.002 * rng.normal(size=200)
    gain = Boosted.fit(counts, quality).gain(np.eye(6, dtype=bool))
    assert gain.argmax() == 2
    assert gain.argmin() == 4
    assert Boosted.fit(counts, quality).gain(np.zeros((1, 6), bool))[0] == pytest.approx(0.0, abs=1e-12)


def test_an_unknown_regression_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"predictor='forest' is unknown; use one of linear, quadratic, boosted, or"):
        fit_predictor(np.ones((30, 2)), np.ones(30), "forest")
