"""A calculator: arithmetic without ``eval``, and a check of every equation ``left = right`` of a calculation.

Of an expression the value; of equations (``<<40*4=160>>`` as GSM8K writes them, or ``40*4 = 160``) whether each holds
(to the digits that are written) and, with ``final``, whether the value of the last left side is that final answer: the
four verdicts of Themis' calculator.

Reference: Li et al. 2023, Tool-Augmented Reward Modeling, https://arxiv.org/abs/2310.01045.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from guerdon.reward.judge.tools.tool import Tool, tool

OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log10": math.log10, "sin": math.sin, "cos": math.cos,
    "tan": math.tan, "abs": abs, "round": round, "min": min, "max": max, "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip
CONSTANTS = {"pi": math.pi, "e": math.e}
LONGEST = 1000
LARGEST = 1e300

BOTH = "Both the calculation and the answer are correct."
PROCESS = "The calculation process is incorrect, but the answer matches the predicted answer."
ANSWER = "The calculation process is correct, but the resulting answer {} does not match the predicted answer {}."
NEITHER = "Both the calculation and the answer are incorrect. The calculated answer {} does not match the predicted answer {}."  # noqa: E501  # fmt: skip


def value(expression: str) -> float:
    """The value of an arithmetic expression: + - * / // % ^ (or **), brackets, percentages, functions, pi and e.

    Raises ValueError for anything else, for numbers beyond 1e300 and for more than a thousand characters.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"an expression of {len(expression)} characters; {LONGEST} are the most")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))|[$€£\s_]", "", expression)
    text = text.replace("^", "**").replace("×", "*").replace("÷", "/").replace("−", "-")
    # each run of digits is tried from its beginning only: trying all of them takes its length cubed
    text = re.sub(r"(?<![\d.])(\d+(?:\.\d*)?|\.\d+)%(?![\d(.])", r"(\1/100)", text)
    text = re.sub(r"(?<![\d.\w])0+(?=\d)", "", text)  # 007 is a number to people
    if re.search(r"\d(?!e[+-]?\d)[^\W\d]", text):
        raise ValueError(f"{expression[:80]!r} is not arithmetic")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"{expression[:80]!r} is not arithmetic") from None
    try:
        found = _value(tree)
    except ZeroDivisionError:
        raise ValueError(f"{expression[:80]!r} divides by zero") from None
    except (OverflowError, TypeError, RecursionError):
        raise ValueError(f"{expression[:80]!r} has no value") from None
    return found


def _value(node: Any) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, power = _value(node.left), _value(node.right)
        if base and abs(power) * abs(math.log10(abs(base))) > 300:
            raise OverflowError("a number beyond 1e300")
        return _bounded(base**power)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return _bounded(OPERATORS[type(node.op)](_value(node.left), _value(node.right)))
    named = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    if isinstance(node, ast.Call) and named in FUNCTIONS and not node.keywords:
        return _bounded(FUNCTIONS[named](*map(_value, node.args)))
    raise ValueError("use numbers, + - * / // % ^, brackets and " + ", ".join(FUNCTIONS))


def _bounded(number: Any) -> float:
    if isinstance(number, complex) or abs(number) > LARGEST:
        raise OverflowError("a number beyond 1e300")
    return number


def plain(number: float) -> str:
    """A number as people write it: no ``.0``, at most ten significant digits after rounding noise."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else f"{number:.10g}"


def equations(text: str) -> list[tuple[str, str]]:
    """(left, right) of each ``<<left=right>>``, or of each ``left = right`` where there are none of the former."""
    marked = re.findall(r"<<([^<>=]+)=([^<>=]+)>>", text)
    if marked:
        return marked
    parts = [p.split("=") for p in re.split(r"[;\n]|,(?!\d{3}(?!\d))", text) if "=" in p]
    return [(left, right) for chain in parts for left, right in pairwise(chain)]


def equal(found: float, said: str) -> bool:
    """Whether a number is the one that is written, to the digits that are written: 0.67 is 2/3 to two."""
    digits = re.fullmatch(r"[^.]*\.(\d+)\D*", said.strip())
    slack = 0.5 * 10.0 ** -len(digits[1]) if digits else 0.0
    meant = value(said)
    return abs(found - meant) <= slack + 1e-9 * max(1.0, abs(meant))


def holds(left: str, right: str) -> tuple[bool, float | None]:
    """(whether both sides are equal to the digits of the right one, value of the left one or None)."""
    try:
        found = value(left)
    except ValueError:
        return False, None
    try:
        return equal(found, right), found
    except ValueError:
        return False, found


def check(text: str, final: str = "") -> str:
    """What is wrong with the equations of a text, and with the final answer; a sentence or a few."""
    pairs = equations(text)
    told = [(left, right, *holds(left, right)) for left, right in pairs]
    wrong = [
        f"{left.strip()} is {plain(found) if found is not None else 'not arithmetic'}, not {right.strip()}"
        for left, right, good, found in told
        if not good
    ]
    details = f" Details: {'; '.join(wrong[:10])}." if wrong else ""
    if not final:
        return (
            f"{len(wrong)} of {len(pairs)} equations are wrong." if wrong else "All equations are correct."
        ) + details
    last = told[-1][3]
    number = final.strip().rstrip(".%")  # 40 and 40% are the same final answer
    if last is not None and (equal(last, number) or equal(last, final.strip().rstrip("."))):
        return PROCESS + details if wrong else BOTH
    shown = ("None" if last is None else plain(last), final.strip())
    return (NEITHER if wrong else ANSWER).format(*shown) + details


@tool(
    says="Computes an expression such as (3+4)*2^3, or checks the equations of a calculation, such as <<40*4=160>>, "
    "<<160+5=165>>, and with final also whether its last value is that final answer."
)
def calculator(expression: str, final: str = "") -> str:
    """The value, or the verdict on the equations."""
    return check(expression, final) if equations(expression) else plain(value(expression))


def make() -> Tool:
    """The calculator, as it is."""
    return calculator
