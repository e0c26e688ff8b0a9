"""The documents say what is so: pages and links exist, commands parse, Python blocks run, lists are complete."""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
EXCLUDED = {line.split("#")[0].strip() for line in CONFIG["exclude_docs"].splitlines()}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
CONTRACT = DOCS / "design.md"  # says what the command line is to become, too
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def nav(entries: Any) -> list[str]:
    """The files of the navigation."""
    if isinstance(entries, str):
        return [entries]
    return [file for entry in (entries.values() if isinstance(entries, dict) else entries) for file in nav(entry)]


def anchors(page: Path) -> set[str]:
    """What headings of a page are linked by."""
    from markdown.extensions.toc import slugify

    found = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.M):
        given = re.search(r"\{[^}]*#([\w-]+)[^}]*\}\s*$", heading)
        found.add(given[1] if given else slugify(re.sub(r"[`*]", "", heading), "-"))
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text_of(page)))


def test_navigation_and_pages_are_the_same_set() -> None:
    listed = nav(CONFIG["nav"])
    assert len(set(listed)) == len(listed)
    assert set(listed) == {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")} - EXCLUDED


def test_nothing_is_fetched_from_elsewhere() -> None:
    assert CONFIG["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript"} & set(CONFIG)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_internal_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_it_names_exist(page: Path) -> None:
    named = set(re.findall(r"\b(?:examples|benchmarks)/\w+\.py\b", text_of(page)))
    named |= {m.replace(".", "/") + ".py" for m in re.findall(r"python -m (benchmarks\.[a-z]\w*)", text_of(page))}
    assert [n for n in sorted(named) if not (ROOT / n).is_file()] == []


def test_api_pages_name_modules_that_exist() -> None:
    modules = [
        m for page in sorted((DOCS / "api").glob("*.md")) for m in re.findall(r"^::: (\S+)", text_of(page), re.M)
    ]
    assert len(modules) == len(set(modules)) > 40
    assert [m for m in modules if find_spec(m) is None] == []


# ---------------------------------------------------------------------- commands


def commands(page: Path) -> list[str]:
    """Whole command lines in fenced blocks, continued lines joined, comments and pipes cut off."""
    found = []
    for language, block in FENCE.findall(text_of(page)):
        if language in ("", "sh", "bash", "shell", "console", "text"):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                match = re.match(r"\s*(?:\$ )?(guerdon(?: .*)?)$", line)
                if match:
                    found.append(match[1])
    return found


def parse(line: str) -> None:
    """Parse a command line as guerdon would, without running it; raises a usage error where it would."""
    words = shlex.split(line, comments=True)[1:]
    cut = next((i for i, word in enumerate(words) if word in ("|", ">", "&&", ";", "<")), len(words))
    words = words[:cut]
    root = get_command(_app())
    context = root.make_context("guerdon", words) if "--help" not in words and "--version" not in words else None
    if context is None:
        return
    command_name, command, rest = root.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]
    assert command is not None, f"no command {command_name}"
    command.make_context(command_name, rest, parent=context)


def _app() -> Any:
    from guerdon.cli import app

    return app


@pytest.mark.parametrize("page", [p for p in PAGES if p != CONTRACT], ids=name)
def test_commands_parse(page: Path) -> None:
    for line in commands(page):
        if re.search(r"\.\.\.|…|\[--| · ", line):
            continue  # a summary of usage, not a command
        try:
            parse(line)
        except Exception as error:  # noqa: BLE001 - whichever it is, the document is wrong
            pytest.fail(f"{line}: {getattr(error, 'message', error)}")


@pytest.mark.parametrize("page", [p for p in PAGES if p != CONTRACT], ids=name)
def test_commands_in_sentences_exist(page: Path) -> None:
    """Commands in backticks may hold placeholders, but the command and its options are real."""
    known = get_command(_app()).commands  # type: ignore[attr-defined]
    for line in re.findall(r"`guerdon ([^`]+)`", FENCE.sub("", text_of(page)).replace("\n", " ")):
        words = line.split()
        if words[0].startswith("-"):
            continue
        assert words[0] in known, line
        options = {o for p in known[words[0]].params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert {w.split("=")[0] for w in words if w.startswith("-") and len(w) > 1} <= options, line


def test_the_checks_of_commands_notice_mistakes() -> None:
    parse("guerdon fit a.jsonl --model low-rank --out b  # a comment")
    for wrong in (
        "guerdon fit a.jsonl --modle low-rank --out b",
        "guerdon fits a",
        "guerdon score one",
        "guerdon fit a",
    ):
        with pytest.raises(Exception, match=r"."):
            parse(wrong)


# ---------------------------------------------------------------------- Python


@pytest.mark.parametrize("page", [p for p in sorted(DOCS.glob("*.md")) if p != CONTRACT], ids=name)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    """The blocks of a page, one after the other in a process of their own."""
    blocks = [block for language, block in FENCE.findall(text_of(page)) if language == "python"]
    if not blocks:
        return
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------- lists


def _named(page: str) -> set[str]:
    return set(re.findall(r"`([^`\s]+)`", text_of(DOCS / page)))


def test_every_format_is_listed() -> None:
    from guerdon.feedback.readers.registry import FORMATS, LAYOUTS
    from guerdon.feedback.schema import SCALES
    from guerdon.feedback.split import UNITS
    from guerdon.feedback.writers import FORMATS as WRITTEN

    wanted = {f.name for f in (*FORMATS, *LAYOUTS)} | set(SCALES) | set(UNITS) | set(WRITTEN)
    assert wanted <= _named("feedback.md")


def test_every_feature_map_head_rule_and_baseline_is_listed() -> None:
    from guerdon.bench.baselines import BASELINES
    from guerdon.curate.registry import STEPS
    from guerdon.encode.features import MAPS
    from guerdon.reward.base import STATUSES
    from guerdon.reward.learned.heads import HEADS
    from guerdon.reward.learned.likelihood import LIKELIHOODS
    from guerdon.reward.registry import MODELS
    from guerdon.reward.verify.rule import RULES

    assert set(MAPS) <= _named("encoders.md")
    assert set(HEADS) | set(LIKELIHOODS) | set(STATUSES) <= _named("rewards.md")
    assert {f"rule:{rule}" for rule in RULES} <= _named("rewards.md")
    assert set(MODELS) <= _named("rewards.md")
    assert set(STEPS) <= _named("curate.md")
    assert set(BASELINES) <= _named("evaluate.md")


def test_docstrings_are_shown_as_markdown() -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("docstrings", DOCS / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    rest = "\n\nRaises\n------\nValueError\n    never"
    columns = "Does it, see :func:`a.b.it`.\n\nshots  how many\n       in all\nby     over what"
    shown = "Does it, see `it`.\n\n- `shots`: how many in all\n- `by`: over what"
    assert made.markdown(columns + rest) == shown + rest
    table = "===== ===\n``a`` x|y\n===== ==="
    assert made.markdown(table) == "|  |  |\n| --- | --- |\n| ``a`` | x\\|y |"
    code = "Write ::\n\n    a = 1    # one\n    b = 22   # two"
    assert made.markdown(code) == "Write:\n\n    a = 1    # one\n    b = 22   # two"
    assert made.markdown("``a``\n    One.\n``b``\n    Two.") == "- ``a``: One.\n- ``b``: Two."
    assert made.markdown("``a``  one\n    and more\n``b``  two") == "- `a`: one and more\n- `b`: two"
    assert made.markdown("Plain prose,  with two blanks in it.") == "Plain prose,  with two blanks in it."


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs guerdon[docs]")
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?(https?://[^\s\">]+)", text_of(page))
        assert [f for f in fetched if not f.startswith("http://www.w3.org")] == []
