"""The scripted planner and its marks, and recorded calls made again (the claim itself is slow)."""

import re
from pathlib import Path

import pytest

from guerdon.papers import themis_tool_rm as themis
from guerdon.papers.frame import Budget
from guerdon.reward.judge.tools import open_tools
from guerdon.reward.judge.tools.table import lookup_over

CALCULATOR, CALENDAR = open_tools("calculator,calendar")


def test_the_planner_takes_the_tool_that_a_question_asks_for() -> None:
    def planned(request: str, response: str = "") -> tuple[str, object]:
        return themis.planned(request, response)

    assert planned("What day is 30 days before 2020-03-01?")[1] == {
        "operation": "target_day",
        "date": "2020-03-01",
        "days": -30,
    }
    assert planned("How many days from 2020-01-01 to 2021-01-01?")[1]["operation"] == "day_difference"  # type: ignore[index]
    assert planned("How much?", "<<2+2=4>>4\n#### 4") == ("calculator", {"expression": "<<2+2=4>>", "final": "4"})
    assert planned("Write a function.") == ("code", {})
    wrong = [themis.Planner(0, 0.05).plan(f"What is {k}+1?", "2") != planned(f"What is {k}+1?") for k in range(2000)]
    assert 0.03 < sum(wrong) / len(wrong) < 0.07


def test_grades_come_from_the_observation_alone() -> None:
    assert themis.graded("156", "It is 156.") == 5
    assert themis.graded("156", "It is 1560 or 156.5.") == 1
    assert themis.graded("The pass rate is 0.5. 1 test cases passed, and 1 test cases failed.", "") == 3
    assert themis.graded("Both the calculation and the answer are correct.", "") == 5
    assert themis.graded("error: no tool", "") == themis.graded(None, "") == 3


def test_rows_that_need_no_data_hold() -> None:
    assert themis.bounded().holds
    made = themis.made_here(Budget(1))
    assert made.holds
    assert made.figures["tools"][0] < 1  # the planner's errors cost something


@pytest.mark.parametrize("name", ["calendar__agent_calendar_test", "calendar__agent_calendar_train"])
def test_the_calendar_gives_every_recorded_observation_again(shared_data: Path, name: str) -> None:
    rows = themis.read(shared_data / "tara", name)
    for row in rows:
        for side in ("pos_answer", "neg_answer"):
            call = row[side]["actions"]
            again = themis.dated(CALENDAR, call["Action"].partition(".")[2], call["Action Input"])
            assert again.text == str(call["Observation"])
    assert len(rows) in (106, 320)


def test_the_calculator_gives_nearly_every_recorded_verdict_again(shared_data: Path) -> None:
    """What differs is the record's own: floating point (3*0.1 is not 0.3 there) and signs that it cannot read (20%)."""
    same = []
    for row in themis.read(shared_data / "tara", "calculator__agent_calculator_test"):
        for side in ("pos_answer", "neg_answer"):
            call = row[side]["actions"]
            if call["Action Input"].strip():
                told = (call["Action Input"], call["Observation"], row[side]["answer"])
                same.append(themis.calculated(CALCULATOR, *told))
    assert len(same) == 288
    assert sum(same) / len(same) > 0.9


def test_programs_give_their_recorded_pass_rates_again(shared_data: Path) -> None:
    rate = re.compile(r"The pass rate is ([\d.]+)\.")
    for row in themis.read(shared_data / "tara", "code__reserve_code_test_data")[:8]:
        for side in ("pos_answer", "neg_answer"):
            again = themis.ran(row[side]["answer"], tuple(row["test_list"]))
            assert rate.match(again)[1] == rate.match(row[side]["actions"]["Observation"])[1]  # type: ignore[index]


def test_chains_of_calendar_and_weather(shared_data: Path) -> None:
    history = themis.read(shared_data / "tara", "weather__weather_history")[0]
    weather = lookup_over(history, "weather")
    calls = 0
    for row in themis.read(shared_data / "tara", "multi_tools__agent_multi_tools_test_action"):
        steps = re.findall(
            r"Action: (\S+)\nAction Input: (.*)\nObservation: ((?:.|\n)*?)(?=\nThought|\Z)",
            row["pos_answer"]["actions"],
        )
        for action, given, told in steps:
            if action == "history_weather":
                place, _, date = given.partition(", ")
                assert weather({"place": place, "date": date}).text == told
            else:
                assert themis.dated(CALENDAR, action.partition(".")[2], given).text == told
            calls += 1
    assert calls == 288
