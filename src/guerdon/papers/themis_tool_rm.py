"""Themis, judging: tools called before the verdict, on TARA's recorded pairs and on sums and dates made here.

The model that plans and judges is scripted: it reads the prompts as they are rendered, takes the tool that the question
asks for, takes another one or other arguments in 5% of the cases (drawn by seed and question), never tries again, and
grades by nothing but what the tool gave: the observation occurs in the answer, the calculator's verdict, the rate of
passed tests. It cannot compute: the same judge without tools gives everything the middle grade. On TARA, Bradley-Terry
heads are fitted on the recorded training pairs, on MiniLM of question, answer and observation with six marks of
agreement, and, as the baseline, on MiniLM of question and answer. The tools are this library's own; they are never told
the reference, with one exception: a program's unit tests, as in TARA.

Row 0 replays the recorded calls of the test rows and compares observations. Compared are, of a calculation, whether it
holds, whether its end is the predicted answer (which the record names), and its value; of programs the pass rate.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.encode import load_encoder
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import DATA, Budget, Claim, Row, at_least, at_most, real_data
from guerdon.papers.index import paper
from guerdon.reward.judge.standard import Standard
from guerdon.reward.judge.tool_judge import Toolbox, ToolJudge, ToolPairs, case_of
from guerdon.reward.judge.tools import Observation, Seen, Tool, open_tools, tool
from guerdon.reward.judge.tools.calculator import ANSWER, BOTH, NEITHER, PROCESS, equal
from guerdon.reward.learned.model import RewardModel
from guerdon.testing.scripted import Scripted

PAPER = paper("themis-tool-rm")

ERROR = 0.05
CODE_TRAIN = 200
"""Training pairs of programs that are run; all 486 take minutes."""
FILES = {
    "calendar": ("calendar__agent_calendar_train", "calendar__agent_calendar_test"),
    "calculator": ("calculator__agent_calculator_train_cases", "calculator__agent_calculator_test"),
    "code": ("code__regenerate_code_train_data", "code__reserve_code_test_data"),
}
VERDICTS = {BOTH: 5, PROCESS: 3, ANSWER.split("{")[0]: 2, NEITHER.split("{")[0]: 1}
_BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)
_CODE = re.compile(r'"verdict_code", which is ([0-9a-f]{12})')
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_RATE = re.compile(r"The pass rate is ([\d.]+)\.")


def check(budget: Budget) -> Claim:
    """Checks 1 and 4 of the card, and of check 2 that observations are read; the replay with them."""
    rows = [made_here(budget), bounded()]
    later = "checks 2 and 3, a model that learns when to call tools, and its head: come with tuning"
    path = real_data("tara")
    if path is None:
        return Claim(
            PAPER.slug, rows, left=(f"check 1, recorded pairs: no tara/ under ${DATA} (the set does not ship)", later)
        )
    return Claim(
        PAPER.slug,
        [replay(path), *recorded(budget, path), *rows],
        left=(later,),
        note=f"The planner is scripted and errs in {ERROR:.0%} of its calls. Programs: {CODE_TRAIN} training pairs.",
    )


# ------------------------------------------------------------------ the scripted planner and judge


@dataclass(frozen=True)
class Planner:
    """A scripted model; ``error`` is the chance of a wrong call."""

    seed: int
    error: float = ERROR

    def __call__(self, prompt: str, seed: int = 0) -> str:
        """A step or a grade, in JSON."""
        shown = {name: text for name, _, text in _BLOCK.findall(prompt)}
        code = _CODE.search(prompt)
        end = {"verdict_code": code[1] if code else ""}
        if '"action_input"' in prompt:
            action, given = ("judge", {}) if "result 1" in shown else self.plan(shown["request"], shown["response"])
            return json.dumps({"thought": "", "action": action, "action_input": given, **end})
        grade = graded(shown.get("result 1"), shown["response"])
        return json.dumps({"rationale": "by the tool's result", "verdict": str(grade), **end})

    def plan(self, request: str, response: str) -> tuple[str, dict[str, Any]]:
        """(tool, arguments); wrong in a share ``error`` of cases."""
        right = planned(request, response)
        dice = random.Random(blake2b(f"{self.seed}\0{request}\0{response}".encode(), digest_size=8).digest())
        if dice.random() >= self.error:
            return right
        wrong = [("calculator", {"expression": "1+1"}), ("calendar", {"operation": "week_day", "date": "2000-01-01"})]
        return dice.choice([w for w in [*wrong, ("telescope", {})] if w[0] != right[0]])


def planned(request: str, response: str) -> tuple[str, dict[str, Any]]:
    """The call that a question needs, told by its words alone."""
    dates = _DATE.findall(request)
    if dates:
        number = re.search(r"\b\d+\b", _DATE.sub("", request))
        if len(dates) > 1:
            return "calendar", {"operation": "day_difference", "date": dates[0], "other": dates[1]}
        if number is None:
            return "calendar", {"operation": "week_day", "date": dates[0]}
        sign = -1 if re.search(r"\b(before|ago|prior)\b", request) else 1
        return "calendar", {"operation": "target_day", "date": dates[0], "days": sign * int(number[0])}
    written = re.findall(r"<<[^<>]+>>", response)
    if written or "####" in response:
        return "calculator", {"expression": ", ".join(written), "final": response.rpartition("####")[2].strip()}
    if request.startswith("What is "):
        return "calculator", {"expression": request.removeprefix("What is ").rstrip("?")}
    return "code", {}


def graded(observation: str | None, response: str) -> int:
    """1 to 5: what the tool's word makes of an answer; 3 where it says nothing."""
    if observation is None or observation.startswith("error"):
        return 3
    verdict = next((grade for text, grade in VERDICTS.items() if observation.startswith(text)), None)
    if verdict is not None:
        return verdict
    rate = _RATE.match(observation)
    if rate is not None:
        return round(1 + 4 * float(rate[1]))
    return 5 if re.search(rf"(?<![\w.]){re.escape(observation)}(?![\w]|\.\d)", response) else 1


def preferred(value: np.ndarray) -> float:
    """Share of pairs (rows 2k, the better, and 2k + 1) whose better one scores higher; ties are half."""
    gap = value[0::2] - value[1::2]
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))


# ------------------------------------------------------------------ recorded pairs


@lru_cache(maxsize=8)
def read(path: Path, name: str) -> list[dict[str, Any]]:
    """Rows of one of TARA's files."""
    with gzip.open(path / f"{name}.jsonl.gz", "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


@lru_cache(maxsize=4096)
def ran(response: str, tests: tuple[str, ...]) -> str:
    """What the code tool says of a response; kept, as every seed asks for the same."""
    (runner,) = open_tools("code=2")
    return runner({}, Seen("", response, {"test_list": list(tests)})).text


@tool(arguments={"type": "object", "properties": {}}, seconds=100.0)
def code(seen: Seen) -> str:
    """Runs the response's program against the tests of the task."""
    return ran(seen.response, tuple(seen.row["test_list"]))


def tools() -> tuple[Tool, ...]:
    """The three tools that can be built offline."""
    return (*open_tools("calculator,calendar"), code)


def candidates_of(rows: Sequence[dict[str, Any]]) -> Candidates:
    """Both answers of each row, the better one first, with the row's tests."""
    prompts = [r["question"] for r in rows for _ in range(2)]
    responses = [r[side]["answer"] for r in rows for side in ("pos_answer", "neg_answer")]
    return Candidates(prompts, responses, extra={"test_list": [r.get("test_list", []) for r in rows for _ in range(2)]})


class TraceFeatures:
    """MiniLM of question, answer and observation [n, 384], then six marks of agreement [n, 6]."""

    spec = fingerprint = "question, answer and observation"

    def __init__(self, observed: dict[tuple[Any, Any], str]) -> None:
        self.observed, self.reader = observed, load_encoder("minilm")
        self.dim = self.reader.dim + 6

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, 390]."""
        told = [self.observed[p, r] for p, r in zip(candidates.prompts, candidates.responses, strict=True)]
        shown = [f"{r}\nObservation: {o}" for r, o in zip(candidates.responses, told, strict=True)]
        read = self.reader.encode(Candidates(list(candidates.prompts), shown))
        marks = np.zeros((len(told), 6), dtype=np.float32)
        for i, (o, response) in enumerate(zip(told, candidates.responses, strict=True)):
            rate = _RATE.match(o)
            marks[i, 0] = not o or o.startswith("error")
            marks[i, 1] = bool(o) and o in str(response)
            marks[i, 2] = o.startswith((BOTH, ANSWER.split("{")[0]))
            marks[i, 3] = o.startswith((BOTH, PROCESS))
            marks[i, 4] = float(rate[1]) if rate else 0.0
            marks[i, 5] = rate is not None and float(rate[1]) == 1
        return np.concatenate([read, marks], axis=1).astype(np.float32)


def head(train: Candidates, encoder: Any) -> RewardModel:
    """A Bradley-Terry head on the pairs."""
    pairs = [
        Judgement(train.prompts[i], (train.responses[i], train.responses[i + 1]), (1.0, 0.0))
        for i in range(0, len(train), 2)
    ]
    return RewardModel(encoder=encoder).fit(Feedback.of(pairs))


def recorded(budget: Budget, path: Path) -> list[Row]:
    """Check 1: pair accuracy with and without tools, for each tool and on average."""
    names = ("head on traces", "judge with tools", "head without tools", "judge without tools")
    figures: dict[str, dict[str, list[float]]] = {t: {n: [] for n in names} for t in (*FILES, "average")}
    for seed in budget.seeds(3):
        model = Scripted(Planner(seed), f"planner {seed}")
        judge = ToolJudge(model, tools=tools(), scale="1-5", how="json", unsure=False)
        for kind, (learn, test) in FILES.items():
            rows = [r for r in read(path, learn) if r["pos_answer"]["answer"] != r["neg_answer"]["answer"]]
            train = candidates_of(rows[:CODE_TRAIN] if kind == "code" else rows)
            shown = candidates_of(read(path, test))
            observed: dict[tuple[Any, Any], str] = {}
            for some in (train, shown):
                cases = [case_of(some, i) for i in range(len(some))]
                traces, _ = Toolbox(tools()).traces(model, Standard.question(), cases)
                told = [t.steps[0].observation.text if t.steps else "" for t in traces]
                observed |= dict(zip(zip(some.prompts, some.responses, strict=True), told, strict=True))
            said = judge.score(shown)
            if any(s != "scored" for s in said.status):
                raise AssertionError("a scripted judge left rows without a grade")
            told = figures[kind]
            told["head on traces"].append(preferred(head(train, TraceFeatures(observed)).score(shown).value))
            told["judge with tools"].append(preferred(said.value))
            told["head without tools"].append(preferred(head(train, "minilm").score(shown).value))
            told["judge without tools"].append(preferred(np.full(len(shown), 3.0)))
        for name in names:
            figures["average"][name].append(float(np.mean([figures[kind][name][-1] for kind in FILES])))
    needed = {"calendar": (0.93, 0.25), "calculator": (0.92, 0.08), "code": (0.0, 0.0), "average": (0.0, 0.17)}
    rows_: list[Row] = []
    for kind, (least, gain) in needed.items():
        best = names[0]
        bounds = [at_least(best, gain, over=names[2])] + ([at_least(best, least)] if least else [])
        rows_.append(Row(f"1 recorded pairs, {kind}", figures[kind], bounds, "accuracy"))
    return rows_


# ------------------------------------------------------------------ the replay


def replay(path: Path) -> Row:
    """Share of the recorded observations of the test rows that the tools give again."""
    calculator, calendar = open_tools("calculator,calendar")
    same: dict[str, list[bool]] = {kind: [] for kind in FILES}
    for kind, (_, test) in FILES.items():
        for row in read(path, test):
            for side in ("pos_answer", "neg_answer"):
                answer, call = row[side]["answer"], row[side]["actions"]
                given, told = call["Action Input"], str(call["Observation"])
                if kind == "calendar":
                    same[kind].append(dated(calendar, call["Action"].partition(".")[2], given).text == told)
                elif kind == "calculator" and given.strip():  # where nothing was calculated there is nothing to repeat
                    same[kind].append(calculated(calculator, given, told, answer))
                elif kind == "code":
                    rates = [_RATE.match(t) for t in (told, ran(answer, tuple(row["test_list"])))]
                    same[kind].append(rates[0] is not None and rates[1] is not None and rates[0][1] == rates[1][1])
    figures = {kind: [float(np.mean(found))] for kind, found in same.items()}
    counts = ", ".join(f"{len(found)} of {kind}" for kind, found in same.items())
    bounds = [at_least("calendar", 1.0), at_least("calculator", 0.95), at_least("code", 0.95)]
    return Row("0 recorded observations given again", figures, bounds, "share", note=counts)


def dated(calendar: Tool, operation: str, given: str) -> Observation:
    """A recorded call of the calendar, made again."""
    date, _, rest = given.replace(" ", "").partition(",")
    more: dict[str, Any] = {"other": rest} if operation == "day_difference" else {}
    if operation == "target_day":
        more = {"days": int(rest)}
    return calendar({"operation": operation, "date": date, **more})


def calculated(calculator: Tool, given: str, told: str, answer: str) -> bool:
    """Whether a recorded check of a calculation comes out the same: it holds or not, so does its end, and its value."""
    named = re.search(r"answer (\S+) does not match the predicted answer (\S+?)\.?$", told)
    final = named[2] if named else answer.rpartition("####")[2].strip()
    again = calculator({"expression": given, "final": final}).text
    value = re.search(r"answer (\S+) does not match", again)
    if judged(again) != judged(told):
        return False
    if named is None or value is None or "None" in (named[1], value[1]):
        return (named[1] if named else "") == (value[1] if value else "")
    return equal(float(value[1]), named[1]) or abs(float(value[1]) - float(named[1])) < 1e-6


def judged(text: str) -> tuple[bool, bool]:
    """(the calculation holds, its end is the predicted answer), as a verdict says."""
    both = text.startswith("Both the calculation and the answer are correct")
    return both or "process is correct" in text, both or "answer matches" in text


# ------------------------------------------------------------------ made here


def questions(seed: int, count: int = 120) -> Candidates:
    """Sums and dates with the right answer and a wrong one, in this order."""
    rng = random.Random(f"themis/{seed}")
    calculator, calendar = open_tools("calculator,calendar")
    prompts, responses = [], []
    for k in range(count):
        if k % 2:
            sum_ = f"{rng.randint(11, 99)}*{rng.randint(11, 99)}+{rng.randint(1, 99)}"
            request, right = f"What is {sum_}?", calculator({"expression": sum_}).text
            wrong = str(int(right) + rng.choice([-100, -10, -1, 1, 10, 100]))
        else:
            date = f"{rng.randint(1900, 2099)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
            request = f"Which day of the week is {date}?"
            right = calendar({"operation": "week_day", "date": date}).text
            wrong = rng.choice([d for d in ("Monday", "Tuesday", "Friday", "Sunday") if d != right])
        prompts += [request] * 2
        responses += [f"It is {right}.", f"It is {wrong}."]
    return Candidates(prompts, responses)


def noise(name: str) -> Tool:
    """A tool of this name that says something else."""

    def function(**given: Any) -> str:
        return str(random.Random(json.dumps(given)).randint(10**8, 10**9))

    real = next(t for t in tools() if t.name == name)
    return replace(real, function=function)


def made_here(budget: Budget) -> Row:
    """Of check 2: accuracy with tools, without, and with tools that say noise, by the same judge."""
    kinds: dict[str, Sequence[Tool]] = {
        "tools": tools(),
        "noise for observations": [*map(noise, ("calculator", "calendar"))],
    }
    figures: dict[str, list[float]] = {"tools": [], "no tools": [], "noise for observations": []}
    for seed in budget.seeds(3):
        shown = questions(seed)
        for name, given in kinds.items():
            judge = ToolJudge(Scripted(Planner(seed)), tools=given, scale="1-5", how="json", unsure=False)
            figures[name].append(preferred(judge.score(shown).value))
        figures["no tools"].append(preferred(np.full(len(shown), 3.0)))
    bounds = [at_least("tools", 0.93), at_least("tools", 0.25, over="no tools")]
    bounds.append(at_most("noise for observations", 0.6))
    return Row("2b sums and dates, the scripted judge", figures, bounds, "accuracy")


# ------------------------------------------------------------------ bounds


def bounded() -> Row:
    """Check 4: loops, unknown tools, errors, floods, malformed steps and hangs end in a row with a verdict, flagged."""

    @tool
    def breaks() -> str:
        """Breaks."""
        raise RuntimeError("broken")

    @tool
    def floods() -> str:
        """Says ten megabytes."""
        return "x" * 10_000_000

    @tool(seconds=0.1)
    def hangs() -> str:
        """Hangs."""
        import time

        time.sleep(2)
        return "late"

    plans: dict[str, Callable[[int], str | dict[str, Any]]] = {
        "endless": lambda turn: {"action": "calculator", "action_input": {"expression": f"{turn}+1"}},
        "unknown": lambda turn: {"action": "telescope", "action_input": {}},
        "raises": lambda turn: {"action": "breaks", "action_input": {}},
        "floods": lambda turn: {"action": "floods", "action_input": {}},
        "hangs": lambda turn: {"action": "hangs", "action_input": {}},
        "misfit": lambda turn: {"action": "calculator", "action_input": {"expression": ["1"]}},
        "malformed": lambda turn: '{"action": "calculator", "action_input": ',
    }
    flagged, kept, longest = [], [], 0
    for plan in plans.values():
        prompts: list[str] = []

        def says(prompt: str, seed: int, plan: Any = plan, prompts: list[str] = prompts) -> str:
            prompts.append(prompt)
            found = _CODE.search(prompt)
            end = {"verdict_code": found[1] if found else ""}
            if '"action_input"' not in prompt:
                label = "A" if '"A"' in prompt or "response A" in prompt else "yes"
                return json.dumps({"rationale": "", "verdict": label, **end})
            step = plan(prompt.count("<<<begin result"))
            return step if isinstance(step, str) else json.dumps({"thought": "", **step, **end})

        given = ["calculator", breaks, floods, hangs]
        one = ToolJudge(Scripted(says), tools=given, turns=3, how="json").score(Candidates(["q"], ["r"]))
        two = ToolPairs(Scripted(says), tools=given, turns=3, how="json", order="given")
        pair = two.prefer(Candidates(["q"], ["r"]), Candidates(["q"], ["s"]))
        flags = [one.detail["partial"][0], *pair.detail["partial"][0]]
        flagged.append(float(all(flags)))
        kept.append(float(one.status == ["scored"] and pair.status == ["scored"] and len(prompts) <= 5 + 9))
        longest = max(longest, max(map(len, prompts)))
    figures = {"flagged partial": [float(np.mean(flagged))], "judged within the turns": [float(np.mean(kept))]}
    figures["characters of the longest question"] = [float(longest)]
    bounds = [at_least("flagged partial", 1.0), at_least("judged within the turns", 1.0)]
    bounds.append(at_most("characters of the longest question", 40_000))
    return Row("4 loops and broken tools", figures, bounds)
