"""Which feature map predicts held-out choices best? Accuracy of a linear Bradley-Terry head on real sets.

    python -m benchmarks.feature_maps [--data DIR] [--encoder minilm] [--pairs 300] [--splits 10] [--maps ...]

For every set and split the head (``RewardModel``, ridge penalty chosen inside the training part) is fitted on the
features of one map and judged on pairs it has not seen: other prompts (HH, RMB, UKP, MT-bench), or other items (Jester,
Polis: which of two items people on average like more). All maps see the same pairs and splits, so their differences are
paired; ``+-`` is the standard deviation over splits. ``longer wins`` is the accuracy of the length alone.

Encoding dominates; it is cached, so a run with more pairs takes only the new texts, and an interrupted run goes on.
The sets are not part of the project: ``--data`` is a folder with the folders hh, rmb, ukpconvarg, mtbench_human,
jester5k and polis; sets that are absent are left out. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from guerdon.encode import encode_feedback, load_encoder
from guerdon.feedback.messages import as_text
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.model import RewardModel

MAPS = ["response", "joined", "product", "difference", "both", "joined+response", "joined+product", "response+surface"]


def comparisons(feedback: Feedback, cap: int) -> Feedback:
    """At most ``cap`` judgements that are no ties; a larger cap keeps those of a smaller one."""
    gap = feedback.grades[feedback.offsets[:-1]] != feedback.grades[feedback.offsets[:-1] + 1]
    rows = np.random.default_rng(0).permutation(np.flatnonzero(gap))
    return feedback.take(np.sort(rows[:cap]))


def majority(feedback: Feedback) -> Feedback:
    """One judgement a pair of responses: what most people chose; pairs without a majority are dropped."""
    a, b = feedback.items[0::2], feedback.items[1::2]
    low, high = np.minimum(a, b), np.maximum(a, b)
    vote = np.sign(feedback.grades[0::2] - feedback.grades[1::2]) * np.where(a == low, 1, -1)
    pair = low.astype(np.int64) * len(feedback.prompt_of) + high
    _, first, of = np.unique(pair, return_index=True, return_inverse=True)
    total = np.bincount(of, vote)
    keep = total != 0
    return pairs_of(feedback, low[first][keep], high[first][keep], total[keep])


def item_pairs(feedback: Feedback, each: int = 10, least: int = 10) -> Feedback:
    """Pairs of items of one prompt, the one with the better mean rating preferred; ``each`` random partners an item."""
    votes = np.bincount(feedback.items, minlength=len(feedback.prompt_of))
    mean = np.bincount(feedback.items, feedback.grades, len(feedback.prompt_of)) / np.maximum(votes, 1)
    rng = np.random.default_rng(0)
    left, right = [], []
    for prompt in np.unique(feedback.prompt_of):
        items = np.flatnonzero((feedback.prompt_of == prompt) & (votes >= least))
        if len(items) > 1:
            a = np.repeat(items, each)
            place = np.repeat(np.arange(len(items)), each) + rng.integers(1, len(items), len(a))
            b = items[place % len(items)]
            left.append(a)
            right.append(b)
    a, b = np.concatenate(left), np.concatenate(right)
    gap = mean[a] - mean[b]
    return pairs_of(feedback, a[gap != 0], b[gap != 0], gap[gap != 0])


def pairs_of(feedback: Feedback, a: np.ndarray, b: np.ndarray, gap: np.ndarray) -> Feedback:
    """Feedback of comparisons of candidates ``a`` and ``b``; ``a`` is preferred where ``gap`` > 0."""
    import pyarrow as pa

    items = np.stack([a, b], 1).ravel()
    return Feedback.from_columns(
        prompts=feedback.prompts.take(pa.array(feedback.prompt_of[a])),
        responses=feedback.responses.take(pa.array(items)),
        offsets=np.arange(len(a) + 1) * 2,
        grades=np.stack([gap > 0, gap < 0], 1).ravel().astype(np.float64),
    )


def sets(data: Path, cap: int, scratch: Path) -> dict[str, tuple[Feedback, str]]:
    """The sets that are there: feedback of comparisons, and what may not be shared by training and test."""

    def read(name: str, *where: str, **options: object) -> Feedback:
        return Feedback.read(data.joinpath(*where), skip_bad=scratch / f"{name}.jsonl", **options)

    def helpful() -> Feedback:
        found = read("helpful", "hh", "vpl_relabelled_test.jsonl.gz", map={"label": "original_label"})
        return found.where(subset="helpful")

    many = 10 * cap  # sets of few distinct or short texts: pairs cost no encoding
    recipes: dict[str, tuple[str, str, int, Callable[[], Feedback]]] = {
        "HH harmless": ("hh", "prompt", cap, lambda: read("harmless", "hh", "harmless-base.test.jsonl.gz")),
        "HH helpful": ("hh", "prompt", cap, helpful),
        "RMB": ("rmb", "prompt", cap, lambda: read("rmb", "rmb", "rmb.jsonl.gz")),
        "UKP arguments": ("ukpconvarg", "prompt", many, lambda: majority(read("ukp", "ukpconvarg"))),
        "MT-bench": ("mtbench_human", "prompt", many, lambda: read("mt", "mtbench_human").where(subset="turn 1")),
        "Jester": ("jester5k", "candidate", many, lambda: item_pairs(read("jester", "jester5k"))),
        "Polis": ("polis", "candidate", many, lambda: item_pairs(read("polis", "polis"))),
    }
    found = {}
    for name, (folder, by, most, make) in recipes.items():
        if (data / folder).is_dir():
            found[name] = (comparisons(make(), most), by)
    return found


def accuracy(scores: np.ndarray, feedback: Feedback) -> float:
    """Share of pairs whose preferred response has the higher score; equal scores count half."""
    pairs = feedback.pairs(ties=False)
    gap = (scores[pairs.a] - scores[pairs.b]) * np.where(pairs.p > 0.5, 1, -1)
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))


def measure(feedback: Feedback, by: str, spec: str, splits: int) -> list[float]:
    """Held-out accuracy of each split."""
    encoder = load_encoder(spec)
    used = feedback.used
    candidates = feedback.candidates.take(used)
    found = []
    for seed in range(splits):
        train, test = feedback.split(by, 0.3, seed)
        model = RewardModel(encoder=encoder, seed=seed).fit(train)
        scores = np.full(len(feedback.prompt_of), np.nan)
        scores[used] = model.score(candidates).value
        found.append(accuracy(scores, test))
    return found


def main() -> None:
    """Encode, fit, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--encoder", default="minilm", help="a specification without features=")
    parser.add_argument("--pairs", type=int, default=300, help="pairs of a set whose texts are all different")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--maps", nargs="+", default=MAPS)
    parser.add_argument("--sets", nargs="+", help="some of the sets, by the beginning of their names")
    parser.add_argument("--out", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    start = time.perf_counter()

    def spec(feature_map: str) -> str:
        return options.encoder + ("&" if "?" in options.encoder else "?") + f"features={feature_map}"

    with tempfile.TemporaryDirectory() as scratch:
        found = sets(options.data, options.pairs, Path(scratch))
    if options.sets:
        found = {k: v for k, v in found.items() if any(k.lower().startswith(s.lower()) for s in options.sets)}
    table: dict[str, dict[str, list[float]]] = {m: {} for m in ["longer wins", *options.maps]}
    sizes = {}
    for name, (feedback, by) in found.items():
        sizes[name] = f"{len(feedback):,} pairs of {len(feedback.used):,} responses"
        length = np.array([len(as_text(r)) for r in feedback.candidates.responses], dtype=float)
        table["longer wins"][name] = [accuracy(length, feedback.split(by, 0.3, s)[1]) for s in range(options.splits)]
        for feature_map in options.maps:
            began = time.perf_counter()
            encode_feedback(load_encoder(spec(feature_map)), feedback, progress=sys.stderr.isatty())
            encoded = time.perf_counter()
            table[feature_map][name] = measure(feedback, by, spec(feature_map), options.splits)
            took = f"encoding {encoded - began:.0f} s, fits {time.perf_counter() - encoded:.0f} s"
            print(f"{name}, {feature_map}: {np.mean(table[feature_map][name]):.3f} ({took})", file=sys.stderr)
    took = time.perf_counter() - start
    lines = ["| features | " + " | ".join([*found, "mean"]) + " |", "|---" * (len(found) + 2) + "|"]
    for feature_map, cells in table.items():
        shown = [f"{100 * np.mean(v):.1f} ± {100 * np.std(v, ddof=1):.1f}" for v in cells.values()]
        mean = 100 * np.mean([np.mean(v) for v in cells.values()])
        lines.append(f"| {feature_map} | " + " | ".join([*shown, f"{mean:.1f}"]) + " |")
    base = options.maps[0]
    for feature_map in options.maps[1:]:  # the same splits for all maps: differences are surer than levels
        gaps = [np.subtract(table[feature_map][name], table[base][name]) for name in found]
        shown = [f"{100 * g.mean():+.1f} ± {100 * g.std(ddof=1):.1f}" for g in gaps]
        lines.append(f"| {feature_map} - {base} | " + " | ".join([*shown, f"{100 * np.mean(gaps):+.1f}"]) + " |")
    command = f"python -m benchmarks.feature_maps --encoder {options.encoder} --pairs {options.pairs}"
    text = (
        f"Held-out pair accuracy x 100 of a linear head on `{options.encoder}`, mean ± sd over {options.splits} splits "
        f"(`{command} --splits {options.splits}`).\n\n" + "\n".join(lines) + "\n\n"
        + "; ".join(f"{k}: {v}" for k, v in sizes.items()) + ".\n"
    )  # fmt: skip
    print(f"\n{text}\n{took:.0f} s, {time.process_time():.0f} s of processor time.")
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
