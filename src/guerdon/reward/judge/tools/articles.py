"""A dictionary or encyclopaedia over a given file: the entry of a title, or of the titles that are most alike.

A dictionary shows the whole entry, a wiki its first paragraph or what ``about`` asks for in it.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence

from guerdon.errors import ConfigError
from guerdon.reward.judge.tools.corpus import Passage, digest_of, passages_of
from guerdon.reward.judge.tools.search import Index
from guerdon.reward.judge.tools.tool import Tool, tool_of

SAYS = {
    "dictionary": "Looks a word up in a dictionary.",
    "wiki": "Opens the encyclopaedia's article of a title, and shows the part that about asks for, or its beginning.",
}


def folded(title: str) -> str:
    """A title as compared: case folded, one space between words."""
    return " ".join(unicodedata.normalize("NFKC", title).casefold().split())


def articles_over(passages: Sequence[Passage], name: str = "wiki") -> Tool:
    """The lookup tool over these entries; several entries of a title are all shown."""
    entries: dict[str, list[Passage]] = {}
    for passage in passages:
        entries.setdefault(folded(passage.title), []).append(passage)
    if "" in entries:
        raise ConfigError(f"tools: {name}: an entry has no title; give a column title, word, name or key")

    def entry(title: str) -> str:
        found = entries.get(folded(title))
        if found is None:
            near = difflib.get_close_matches(folded(title), entries, n=5, cutoff=0.6)
            alike = f"; there are: {', '.join(entries[t][0].title for t in near)}" if near else ""
            raise LookupError(f"no entry {title[:80]!r}{alike}")
        return "\n\n".join(p.text for p in found)

    def dictionary(word: str) -> str:
        """The entry."""
        return entry(word)

    def wiki(title: str, about: str = "") -> str:
        """The best paragraph of the article, or its first."""
        parts = [p for p in entry(title).split("\n") if p.strip()]
        best = Index([Passage("", p) for p in parts]).best(about, 1) if about else []
        return best[0].text if best else (parts or ["an empty article"])[0]

    function = dictionary if name == "dictionary" else wiki
    return tool_of(function, name=name, says=SAYS.get(name, SAYS["wiki"]), identity=[name, digest_of(passages)])


def make(argument: str = "", *, name: str = "wiki") -> Tool:
    """The lookup over a file of titles and texts."""
    if not argument:
        raise ConfigError(f"tools: {name} needs its entries: {name}=FILE, with columns title (or word) and text")
    return articles_over(passages_of(argument), name)
