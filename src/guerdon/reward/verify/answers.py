r"""Right or wrong by a reference: final answers of worked solutions, and exact matches.

The final answer of a text is, in this order: the last ``\boxed{...}``; what follows the last ``####``; what follows the
last "answer is" or "answer:" (also "A:" at the start of a line); else the last number. Two answers are equal if their
normal forms are the same text, or if both are numbers or constant expressions (fractions, powers, roots, pi, percent,
thousands separators, currency) of the same value, or tuples, sets or intervals of equal parts. Variables are compared
as polynomials would be: at random points. Nothing is ever evaluated by Python's ``eval``.

References: Cobbe et al. 2021, arXiv:2110.14168 (GSM8K's ``####``); Hendrycks et al. 2021, arXiv:2103.03874 (MATH's
``\boxed``).
"""

from __future__ import annotations

import ast
import math
import operator
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.reward.verify.rule import Question, Rule, Verdict, unusable

EXTRACTIONS = ("auto", "boxed", "hash", "phrase", "last-number", "whole")
_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?\s?\$?\s?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d+)?(?:\s?/\s?\d+)?%?"
)
_PHRASE = re.compile(r"(?:answer\s*(?:is|:|=)|^\s*A:)\s*:?\s*([^\n]+)", re.I | re.M)


class FinalAnswer(Rule):
    """1 if the response's final answer equals the reference's, else 0; no answer found = 0, with that reason.

    Parameters
    ----------
    extract : auto, boxed, hash, phrase, last-number or whole: where a response's final answer stands
    tolerance : relative difference at which two numbers still count as equal
    """

    def __init__(self, *, extract: str = "auto", tolerance: float = 1e-6) -> None:
        if extract not in EXTRACTIONS:
            raise ConfigError(f"extract={extract!r} is unknown; use one of {', '.join(EXTRACTIONS)}")
        if not (isinstance(tolerance, int | float) and 0 <= tolerance < 1):
            raise ConfigError(f"tolerance={tolerance!r}: use a number in [0, 1)")
        self.name = "answer"
        self.extract, self.tolerance = extract, tolerance

    def check(self, asked: Question) -> Verdict:
        """Compares with ``reference``, whose own final answer is taken where it is a worked solution."""
        if asked.reference is None or str(asked.reference).strip() == "":
            return unusable("no reference answer; give a column 'reference'")
        wanted = final_answer(str(asked.reference), "auto") or str(asked.reference)
        found = final_answer(asked.response, self.extract)
        if found is None:
            return Verdict(0.0, "no final answer found", detail={"answer": None})
        right = equal_answers(found, wanted, self.tolerance) or equal_answers(
            found, str(asked.reference), self.tolerance
        )
        return Verdict(float(right), detail={"answer": found})


class ExactMatch(Rule):
    """1 if the response is the reference (or one of them) up to case, white space, articles and end marks.

    Parameters
    ----------
    normalize : compare up to case, white space, articles and punctuation at the ends; false compares as it is
    """

    def __init__(self, *, normalize: bool = True) -> None:
        self.name = "exact"
        self.normalize = normalize

    def check(self, asked: Question) -> Verdict:
        """Compares with ``reference``: a text, or a list of accepted texts."""
        if asked.reference is None:
            return unusable("no reference; give a column 'reference'")
        accepted = asked.reference if isinstance(asked.reference, list | tuple) else [asked.reference]
        form: Callable[[str], str] = plain if self.normalize else str
        return Verdict(float(form(asked.response) in {form(str(text)) for text in accepted}))


def plain(text: str) -> str:
    """Case, white space, articles and punctuation at the ends taken away."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split()).strip(" \t.,;:!?\"'`*()")


def final_answer(text: str, extract: str = "auto") -> str | None:
    """Where the answer stands in a worked solution (see the module); None if there is none."""
    if extract == "whole":
        return text.strip() or None
    for kind, find in _FINDERS.items():
        if extract in ("auto", kind):
            found = find(text)
            if found is not None:
                return found
    return None


def _boxed(text: str) -> str | None:
    start = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    if start < 0:
        return None
    depth, begin = 0, text.index("{", start) + 1
    for i in range(begin - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[begin:i].strip() or None
    return None  # never closed: cut off


def _hash(text: str) -> str | None:
    _, mark, rest = text.rpartition("####")
    line = rest.strip().split("\n")[0].strip() if mark else ""
    return line or None


def _phrase(text: str) -> str | None:
    found = _PHRASE.findall(text)
    if not found:
        return None
    said = found[-1].strip().rstrip(".").strip("*$ ")
    return said or None


def _last_number(text: str) -> str | None:
    found = [m for m in _NUMBER.findall(text) if any(c.isdigit() for c in m)]
    return found[-1].strip() if found else None


_FINDERS: dict[str, Callable[[str], str | None]] = {
    "boxed": _boxed,
    "hash": _hash,
    "phrase": _phrase,
    "last-number": _last_number,
}


# ---------------------------------------------------------------------------------------------------------- equality


def equal_answers(a: str, b: str, tolerance: float = 1e-6) -> bool:
    """Whether two final answers say the same."""
    a, b = _normal(a), _normal(b)
    if a == b and a != "":
        return True
    left, right = _parts(a), _parts(b)
    if left is not None and right is not None:
        if left[0] != right[0] or len(left[1]) != len(right[1]):
            return False
        if left[0] == "{}":
            return _same_set(left[1], right[1], tolerance)
        return all(equal_answers(p, q, tolerance) for p, q in zip(left[1], right[1], strict=True))
    return _same_value(a, b, tolerance) or _same_value(_bare(a), _bare(b), tolerance)


def _same_set(left: list[str], right: list[str], tolerance: float) -> bool:
    rest = list(right)
    for part in left:
        match = next((other for other in rest if equal_answers(part, other, tolerance)), None)
        if match is None:
            return False
        rest.remove(match)
    return not rest


_LATEX = (
    (re.compile(r"\\(?:left|right|,|;|!|:| |quad|displaystyle)(?![a-zA-Z])"), ""),
    (re.compile(r"\\(?:text|mathrm|textbf|mathbf|operatorname)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\^\{?\\circ\}?|°"), ""),
    (re.compile(r"\\(?:cdot|times)|×|·"), "*"),
    (re.compile(r"\\div|÷"), "/"),
    (re.compile(r"\\pi|π"), "(pi)"),
    (re.compile(r"\\(?:%|\$)"), lambda m: m.group()[1]),
    (re.compile(r"−|–"), "-"),
)
_FRACTION = re.compile(r"\\frac(?:\{([^{}]*)\}\{([^{}]*)\}|(\d)(\d))")
_ROOT = re.compile(r"\\sqrt(?:\[([^\[\]]*)\])?(?:\{([^{}]*)\}|(\d))")


def _normal(text: str) -> str:
    r"""The text with LaTeX made plain: ``\frac{a}{b}`` -> ``((a)/(b))``, ``\sqrt{a}`` -> ``((a)**(1/2))``."""
    text = unicodedata.normalize("NFKC", text).strip().strip("$").rstrip(".").strip()
    for pattern, plain_form in _LATEX:
        text = pattern.sub(plain_form, text)
    for _ in range(8):  # innermost braces first
        made = _FRACTION.sub(lambda m: f"(({m[1] or m[3]})/({m[2] or m[4]}))", text)
        made = _ROOT.sub(lambda m: f"(({m[2] or m[3]})**(1/({m[1] or 2})))", made)
        made = re.sub(r"\^\{([^{}]*)\}", r"**(\1)", made)
        if made == text:
            break
        text = made
    return " ".join(text.replace("\\{", "{").replace("\\}", "}").replace("^", "**").casefold().split())


_UNITS = re.compile(r"\s*(?<=[\d%)])\s*(?!e[-+]?\d)[a-z][a-z ./²³]*$")


def _bare(text: str) -> str:
    """Without currency, thousands separators, a leading ``x =`` and units behind a number."""
    text = re.sub(r"^[a-z]\s*=\s*", "", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text).replace("$", "").replace("€", "").replace("£", "")
    return _UNITS.sub("", text.strip())


def _parts(text: str) -> tuple[str, list[str]] | None:
    """(brackets, parts) of a tuple, set or interval; None of anything else."""
    if len(text) < 2 or text[0] not in "([{" or text[-1] not in ")]}":
        return None
    inner, depth, parts, begin = text[1:-1], 0, [], 0
    for i, c in enumerate(inner):
        depth += (c in "([{") - (c in ")]}")
        if depth < 0:
            return None  # the first bracket closes before the end
        if c == "," and depth == 0:
            parts.append(inner[begin:i].strip())
            begin = i + 1
    if not parts or re.fullmatch(r"\d{1,3}(,\d{3})+", inner.replace(" ", "")):
        return None
    return text[0] + text[-1], [*parts, inner[begin:].strip()]


def _same_value(a: str, b: str, tolerance: float) -> bool:
    values = list(zip(_values(a), _values(b), strict=False))
    return len(values) == POINTS and all(
        abs(x - y) <= tolerance * max(1e-9, abs(x), abs(y)) or (x == 0 and abs(y) < 1e-12) for x, y in values
    )


# -------------------------------------------------------------------------------------------------------- expressions

POINTS = 3
"""Variables are tried at so many random points; a constant has the same value at each."""

_OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS = {"sqrt": math.sqrt, "sin": math.sin, "cos": math.cos, "tan": math.tan, "log": math.log, "ln": math.log}
_FUNCTIONS |= {"exp": math.exp, "abs": abs}


def _values(text: str) -> Iterator[float]:
    """The expression's value at each random point; nothing where it is no expression."""
    text = re.sub(r"(\d(?:[\d.]*))\s*%", r"(\1/100)", text)
    text = re.sub(r"(?<![\w*])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\w])", r"(\1+\2/\3)", text)  # mixed numbers
    text = re.sub(r"(?<=[\d)])\s*(?=[a-z(])(?!e[-+]?\d)", "*", text)  # 2x, 3(4), 2pi
    if len(text) > 200:
        return
    try:
        tree = ast.parse(text, mode="eval").body
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - {"pi", "e", *_FUNCTIONS}
        if any(len(name) > 1 for name in names):
            return  # words, not variables
        rng = np.random.default_rng(0)
        for _ in range(POINTS):
            point = {chr(c): float(v) for c, v in zip(range(97, 123), rng.uniform(0.5, 2.0, 26), strict=True)}
            yield float(_evaluate(tree, {**point, "pi": math.pi, "e": math.e}))
    except (SyntaxError, ValueError, ArithmeticError, KeyError, TypeError, RecursionError, MemoryError):
        return


def _evaluate(node: ast.AST, at: dict[str, float]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.Name) and node.id in at:
        return at[node.id]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_evaluate(node.operand, at))
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, at), _evaluate(node.right, at)
        if isinstance(node.op, ast.Pow):
            if abs(right) > 1000:
                raise ValueError("exponent")
            result = float(left) ** float(right)
            if isinstance(result, complex):
                raise ValueError("complex")
            return result
        if type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        return _FUNCTIONS[node.func.id](_evaluate(node.args[0], at))
    raise ValueError(type(node).__name__)
