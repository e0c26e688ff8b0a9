"""FC-RewardBench: pairs built from ground truth, certainly wrong and in one spelling; published rows."""

import json
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon.bench.suites.fc_reward_bench import FC_REWARD_BENCH, quotas
from guerdon.bench.suites.run import run
from guerdon.curate.tool_errors import COUNTS, corrupt
from guerdon.errors import FeedbackError
from guerdon.feedback.tool_calls import canonical
from guerdon.reward.base import Function
from guerdon.reward.verify.tool_match import gold_calls, matches

TOOLS = [
    {"name": "city.weather", "parameters": {"properties": {"city": {}, "days": {}, "unit": {}}, "required": ["city"]}},
    {"name": "city.mayor", "parameters": {"properties": {"city": {}}, "required": ["city"]}},
]
TRUTH: list[Any] = [{"city.weather": {"city": ["New York", "NYC"], "days": [3], "unit": ["celsius", ""]}}]


@pytest.mark.parametrize("error", COUNTS)
def test_every_error_is_wrong_by_the_matcher(error: str) -> None:
    wrong = corrupt(error, TRUTH, TOOLS, np.random.default_rng(0))
    assert wrong is not None
    assert wrong != canonical(gold_calls(TRUTH))
    if error == "parsing":
        with pytest.raises(json.JSONDecodeError):
            json.loads(wrong)
    else:
        assert not matches(json.loads(wrong), TRUTH)
    if error == "missing optional":  # leaving the unit out is admissible, so it must have been the days
        assert "days" not in wrong


def test_admissible_alternatives_are_right() -> None:
    assert matches([{"city.weather": {"city": "nyc", "days": 3}}], TRUTH)
    assert not matches([{"city.weather": {"city": "NYC", "days": "3"}}], TRUTH)
    assert not matches([{"city.weather": {"city": "NYC", "days": True}}], TRUTH)


def test_calls_in_any_order_as_all_orders_tried() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        truth: list[Any] = [{"f": {"x": rng.integers(0, 3, 2).tolist()}} for _ in range(3)]
        calls: list[Any] = [{"f": {"x": int(rng.integers(0, 3))}} for _ in range(3)]
        naive = any(
            all(c["f"]["x"] in t["f"]["x"] for c, t in zip(order, truth, strict=True)) for order in permutations(calls)
        )
        assert matches(calls, truth) == naive


def test_published_rows_are_spelled_alike_and_equal_ones_dropped(tmp_path: Path) -> None:
    row = {"tools": json.dumps(TOOLS), "conversation": [{"role": "user", "content": "Weather?"}], "test_id": "1"}
    rows = [
        {**row, "chosen_output": '[{"f":{"b":1,"a":2}}]', "rejected_output": [{"f": {"a": 3}}], "error_type": "VALUE"},
        {**row, "chosen_output": '[{"f":{"b":1,"a":2}}]', "rejected_output": '[{"f": {"a": 2, "b": 1}}]',
         "error_type": "VALUE"},
    ]  # fmt: skip
    path = tmp_path / "fc_reward_bench.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = FC_REWARD_BENCH.feedback(tmp_path)
    assert len(found) == 1
    assert found.notes[0].startswith("1 pairs")
    assert next(found.judgements()).responses[0] == '[{"f": {"a": 2, "b": 1}}]'
    path.write_text('{"chosen_output": "x", "tools": []}', encoding="utf-8")
    with pytest.raises(FeedbackError, match=r":1: no conversation"):
        FC_REWARD_BENCH.feedback(tmp_path)


def test_pairs_of_bfcl_have_the_published_shares(shared_data: Path) -> None:
    found = FC_REWARD_BENCH.feedback(shared_data)
    told = Counter(found.subsets[k] for k in found.subset.tolist())
    assert all(abs(told[e] - n) <= 5 for e, n in quotas(len(found)).items())
    result = run(Function(lambda p, r: 0.0, "constant"), FC_REWARD_BENCH, found, baselines=(), bootstrap=10)
    assert result.headline[1].value == 0
    assert result.extra["a tie or no score is half"] == 0.5
