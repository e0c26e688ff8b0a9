"""The rows that the DPO policy of RewardBench's claim is measured on are of the published layout."""

import json
from collections import Counter
from pathlib import Path

import numpy as np

from guerdon.bench.suites.reward_bench import COUNTS, LENGTH, PRIOR, REWARD_BENCH
from guerdon.bench.suites.run import run
from guerdon.papers.rewardbench import ROWS, rows_of
from guerdon.reward.base import Function
from guerdon.worlds.language.conversations import Conversations


def test_rows_have_all_subsets_and_their_length_tags(tmp_path: Path) -> None:
    text = rows_of(30, seed=0)
    made = [json.loads(line) for line in text.splitlines()]
    assert Counter(row["subset"] for row in made) == dict.fromkeys((*COUNTS, *PRIOR), ROWS)
    for row in made:
        gap = len(row["chosen"].split()) - len(row["rejected"].split())
        assert gap >= 0 or row["subset"] not in LENGTH["right is longer"]
        assert gap <= 0 or row["subset"] not in LENGTH["right is shorter"]
    (tmp_path / "rewardbench.jsonl").write_text(text, encoding="utf-8")
    data = REWARD_BENCH.feedback(tmp_path)
    world = Conversations()
    truth = Function(lambda p, r: float(world.on_topic([str(p)], [str(r)])[0]))
    found = run(truth, REWARD_BENCH, data, baselines=(), bootstrap=0)
    assert found.headline[1].value > 0.85
    longest = run(Function(lambda p, r: len(str(r).split())), REWARD_BENCH, data, baselines=(), bootstrap=0)
    assert abs(longest.headline[1].value - 0.5) < 0.2
    assert not np.isnan(found.figures["Prior Sets"].value)
