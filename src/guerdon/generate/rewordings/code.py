"""Transforms of code that leave what it does as it is: minified, with comments, with other code.

What is done to Python is checked by its syntax tree: where the tree would change, the code stays as it is. Code is a
response that is code from its first line to its last, a function's body alone among them, or what stands between its
fences. Other languages are reworded line by line, and only where a line says nothing by itself.
"""

from __future__ import annotations

import ast
import random
import re
import textwrap
from collections.abc import Callable
from dataclasses import replace

from guerdon.feedback.messages import as_text
from guerdon.generate.rewordings.transform import ROLE, Case, in_texts, pair

_FENCE = re.compile(r"(```)(\w*)\n(.*?)(```)", re.S)
HASH = ("python", "py", "ruby", "bash", "sh", "r")
HEADER = "def _():\n"


def parsed(code: str) -> ast.Module | None:
    """The tree of Python code, of a function's body alone too; None if it is no Python."""
    for whole in (code, HEADER + textwrap.indent(textwrap.dedent(code), "    ")):
        try:
            return ast.parse(whole)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def is_code(text: str) -> bool:
    """Whether a response holds fenced code, or is Python of more than a word from its first line to its last."""
    if _FENCE.search(text):
        return True
    tree = parsed(text)
    nodes = (ast.FunctionDef, ast.Return, ast.For, ast.While, ast.If, ast.Assign, ast.Import, ast.ImportFrom)
    return tree is not None and any(isinstance(n, nodes) for n in ast.walk(ast.Module(_inside(tree), [])))


def _inside(tree: ast.Module) -> list[ast.stmt]:
    """The statements, without the function that a body alone was wrapped in."""
    only = tree.body[0] if len(tree.body) == 1 else None
    return only.body if isinstance(only, ast.FunctionDef) and only.name == "_" else tree.body


def in_code(text: str, change: Callable[[str, str], str], language: str = "") -> str:
    """``change(code, language)`` applied to the fenced parts of a response, or to all of it where there are none."""
    if not _FENCE.search(text):
        return change(text, language or ("python" if parsed(text) is not None else ""))
    return _FENCE.sub(lambda m: f"{m[1]}{m[2]}\n{change(m[3], m[2].lower() or language)}{m[4]}", text)


def _on_responses(case: Case, change: Callable[[str, str, bool], str]) -> Case:
    """``change(code, language, whether the response is right)`` in every response."""

    def of(value: str, right: bool) -> str:
        return in_code(value, lambda code, language: change(code, language, right), case.language)

    responses = (
        in_texts(r, lambda t, right=right: of(t, right), ROLE["response"])
        for r, right in zip(case.responses, case.right, strict=True)
    )
    return replace(case, responses=tuple(responses))


# ------------------------------------------------------------------------------------------------------- minifying


class _Bare(ast.NodeTransformer):
    """Without docstrings and other texts that nothing reads."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
        return node


def minified(code: str, language: str = "python") -> str:
    """Python without comments, docstrings and spare spaces, indented by one; other languages without blank lines."""
    if language not in ("", "python", "py", "python3"):
        return "\n".join(line.rstrip() for line in code.splitlines() if line.strip()) + "\n" * code.endswith("\n")
    tree = parsed(code)
    if tree is None or not tree.body:
        return code
    bare = ast.fix_missing_locations(_Bare().visit(tree))
    wrapped = _inside(bare) is not bare.body and parsed_alone(code) is None
    try:
        lines = ast.unparse(bare).splitlines()
    except (ValueError, RecursionError):
        return code
    short = [" " * ((len(line) - len(line.lstrip())) // 4) + line.lstrip() for line in lines if line.strip()]
    again = parsed("\n".join(short[1:] if wrapped else short))
    if again is None or ast.dump(ast.Module(_inside(again), [])) != ast.dump(ast.Module(_inside(bare), [])):
        return code
    return "\n".join(short[1:] if wrapped else short) + "\n" * code.endswith("\n")


def parsed_alone(code: str) -> ast.Module | None:
    """The tree of code that needs no function around it."""
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@pair("minified", family="targeted", domain="code", what="code without comments and spaces", sides=("response",))
def minify(case: Case, draw: random.Random) -> Case:
    """See :func:`minified`."""
    return _on_responses(case, lambda code, language, right: minified(code, language))


# ------------------------------------------------------------------------------------------------------- comments


def commented(code: str, language: str, remark: str) -> str:
    """The code with ``remark`` as a comment at the end of every line that can take one."""
    mark = "#" if language in HASH or not language else "//"
    lines = code.splitlines()
    tree = parsed(code) if mark == "#" else None
    inside = _in_strings(tree) if tree is not None else set()
    shift = 0 if tree is None or parsed_alone(code) is not None else 1  # the line of the function put around a body
    out = []
    for number, line in enumerate(lines, 1):
        plain = line.strip() and not line.rstrip().endswith("\\") and number + shift not in inside
        quoted = mark == "//" and ("`" in line or '"""' in line)
        out.append(f"{line.rstrip()}  {mark} {remark}" if plain and not quoted else line)
    done = "\n".join(out) + "\n" * code.endswith("\n")
    if mark == "#":
        again = parsed(done)
        if tree is None or again is None or ast.dump(tree) != ast.dump(again):
            return code
    return done


def _in_strings(tree: ast.Module) -> set[int]:
    """Lines after which a text goes on."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno is not None
        for line in range(node.lineno, node.end_lineno)
    }


def _remarks(case: Case, of_right: str, of_wrong: str) -> Case:
    return _on_responses(case, lambda code, language, right: commented(code, language, of_right if right else of_wrong))


@pair(
    "misleading comments",
    family="targeted",
    domain="code",
    keeps="ranking",
    what='"bad" behind every line of the right code, "good" of the wrong',
    sides=("response",),
)
def misleading_comments(case: Case, draw: random.Random) -> Case:
    """Comments do nothing; a reward that reads them is fooled."""
    return _remarks(case, "bad", "good")


@pair(
    "same comments",
    family="targeted",
    domain="code",
    what='"good" behind every line of all code',
    sides=("response",),
)
def same_comments(case: Case, draw: random.Random) -> Case:
    """The same for right and wrong."""
    return _remarks(case, "good", "good")


@pair(
    "other code beside",
    family="targeted",
    domain="code",
    what="the other response's code below each, all of it commented out",
    sides=("response",),
)
def other_code(case: Case, draw: random.Random) -> Case | None:
    """Commented out, or it would be run instead."""
    responses = []
    for i, own in enumerate(case.responses):
        other = case.other(i)
        if other is None:
            return None
        theirs = as_text(other)
        found = _FENCE.search(theirs)
        code = found[3] if found else theirs

        def beside(mine: str, language: str, code: str = code) -> str:
            mark = "#" if language in HASH or not language else "//"
            below = "\n".join(f"{mark} {line}".rstrip() for line in code.splitlines())
            return f"{mine.rstrip()}\n\n{mark} Another attempt:\n{below}" + "\n" * mine.endswith("\n")

        responses.append(in_texts(own, lambda t, beside=beside: in_code(t, beside, case.language), ROLE["response"]))
    return replace(case, responses=tuple(responses))


TRANSFORMS = (minify, misleading_comments, same_comments, other_code)

__all__ = ["TRANSFORMS", "commented", "in_code", "is_code", "minified"]
