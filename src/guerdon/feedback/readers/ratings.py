"""Tables of user x item x rating with the items' texts in a table of their own (Jester, Polis, MovieLens).

A table of ratings (who, which item, how much), a table of items that shares the item column and holds a text, and
optionally a table of groups (Polis conversations) that both share a column with: people are numbered afresh in each
group, so a person is ``group/user``; the group's description is the prompt, the group the subset. Without groups the
prompt is empty, or what ``--map 'prompt="..."'`` says. Every rating is a judgement of one response on the scale
``rating``.

What is left out, and said: items that are moderated out, ratings of a person's own item, and passes (0 among agree 1
and disagree -1), which are abstentions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.places import Places
from guerdon.feedback.readers import fast
from guerdon.feedback.readers.formats import META, Row, RowError, Sample, as_label
from guerdon.feedback.readers.gather import Reading, each_row
from guerdon.feedback.readers.layouts import File, Layout
from guerdon.feedback.star import Feedback

pc: Any = pyarrow.compute  # its functions are made at run time, unseen by type checkers

USER, TIME = META["user"], META["time"]
RATING = ("rating", "vote", "score", "grade", "stars")
ITEM = ("item", "item_id", "itemId", "statement", "joke", "movieId", "id")
RESPONSE = ("response", "responses", "completion", "chosen")  # a table that has one needs no table of items
TEXT = ("text", "body", "content", "response", "title", "name")
PROMPT = ("prompt", "description", "question", "topic", "title")
PASS = "{n} passes (0 between agree and disagree) left out: they are abstentions"


@dataclass(frozen=True)
class Columns:
    """The names of the columns in the table of ratings, and of item and text in the table of items."""

    user: str
    item: str
    rating: str
    time: str | None
    group: str | None
    key: str
    text: str


def columns_of(ratings: Sample, items: Sample) -> Columns | None:
    """The columns of two tables that are ratings and items; None if they are not."""
    user, rating, time = (_first(ratings, names) for names in (USER, RATING, TIME))
    text = _first(items, TEXT)
    if user is None or rating is None or text is None or _first(items, RATING) or _first(ratings, RESPONSE):
        return None
    taken = {user, rating, time, text, "prompt"}
    shared = [f for f in ratings.fields if f in items.fields and f not in taken]
    if len(shared) == 1:
        return Columns(user, shared[0], rating, time, None, shared[0], text)
    if len(shared) == 2:  # the item is the one with more values
        shared.sort(key=lambda f: len({str(row.get(f)) for row in items.rows}))
        return Columns(user, shared[1], rating, time, shared[0], shared[1], text)
    own, key = _first(ratings, ITEM), _first(items, ITEM)
    if not shared and own and key and own not in taken:
        return Columns(user, own, rating, time, None, key, text)
    return None


def _first(sample: Sample, names: Sequence[str]) -> str | None:
    return next((n for n in names if n in sample.fields), None)


def match(files: Sequence[File]) -> dict[str, File] | None:
    """The tables of ratings, items and groups among ``files``."""
    for ratings in files:
        for items in files:
            columns = columns_of(ratings.sample, items.sample) if items is not ratings else None
            if columns is None:
                continue
            roles = {"ratings": ratings, "items": items}
            rest = [f for f in files if f is not ratings and f is not items]
            if columns.group:
                groups = [f for f in rest if f.sample.has(columns.group) and _first(f.sample, PROMPT)]
                roles |= {"groups": groups[0]} if groups else {}
            return roles
    return None


@dataclass(frozen=True)
class Item:
    """One row of the table of items."""

    text: str
    author: str | None
    shown: bool


def read(files: dict[str, File], reading: Reading) -> Feedback:
    """One judgement a rating."""
    columns = columns_of(files["ratings"].sample, files["items"].sample)
    if columns is None:
        raise FeedbackError(f"{files['ratings'].container.name}: not a table of ratings with a table of items")
    items = items_of(files["items"], columns, reading)
    groups = prompts_of(files["groups"], columns.group) if columns.group and "groups" in files else {}
    table, places = ratings_of(files["ratings"], columns, reading)
    constant = files["ratings"].mapping.constants().get("prompt", "")
    return assemble(table, places, items, groups or {"": constant}, columns, reading)


def items_of(file: File, columns: Columns, reading: Reading) -> dict[tuple[str, str], Item]:
    """The items by (group, item); an item listed twice is a problem."""
    out: dict[tuple[str, str], Item] = {}

    def one(row: Row) -> None:
        key = (row.label(columns.group) if columns.group else "", row.label(columns.key))
        if key in out:
            raise RowError("duplicate-id", columns.key, f"item {key[1]!r} is listed twice", "remove one of them")
        author = as_label(row.data["author"], "author") if "author" in row else None
        moderated = row.data.get("moderated")
        out[key] = Item(text_of(row, columns.text), author, moderated is None or str(moderated) != "-1")

    each_row(file.container, lambda row, _: one(row), reading, file.mapping)
    return out


def text_of(row: Row, column: str) -> str:
    """The text of an item; a title is told with its genres where it has some."""
    text = row.data.get(column)
    if not isinstance(text, str):
        raise RowError("missing-field", column, "is no text", "fill it")
    genres = row.data.get("genres")
    if column == "title" and isinstance(genres, str) and genres and not genres.startswith("("):
        return f"{text} [{genres.replace('|', ', ')}]"
    return pack(text)


def prompts_of(file: File, group: str) -> dict[str, str]:
    """The prompt of each group: the first of its describing columns that is filled, else its name."""
    out = {}
    for _, row in file.rows():
        name = as_label(row[group], group)
        texts = (row.get(n) for n in PROMPT)
        out[name] = next((t.strip() for t in texts if isinstance(t, str) and t.strip()), name)
    return out


def ratings_of(file: File, columns: Columns, reading: Reading) -> tuple[pa.Table, Places]:
    """A table of user, item, group (text), rating, time (float64), and where its rows are from."""
    wanted = {"user": columns.user, "item": columns.item, "rating": columns.rating}
    wanted |= {"time": columns.time} if columns.time else {}
    wanted |= {"group": columns.group} if columns.group else {}
    numbers = tuple(c for c in (columns.rating, columns.time) if c)
    try:
        names = fast.Fast((), numbers, lambda _: {}, also=tuple(wanted.values()))
        found = fast.Columns(fast.load(file.container, file.sample, names, file.mapping), reading.tally)
        out = {}
        for role, name in wanted.items():
            out[role] = pa.array(found.number(name)) if role in ("rating", "time") else found.label(name)
            found.refuse(out[role].null_count > 0)
        return pa.table(out), Places.of(file.container, np.arange(1, len(found) + 1), counted=True)
    except fast.NotFast:
        return _ratings_by_row(file, wanted, reading)


def _ratings_by_row(file: File, wanted: Mapping[str, str], reading: Reading) -> tuple[pa.Table, Places]:
    lists: dict[str, list[Any]] = {role: [] for role in wanted}
    numbers: list[int] = []

    def one(row: Row, number: int) -> None:
        values = [row.number(n) if role in ("rating", "time") else row.label(n) for role, n in wanted.items()]
        numbers.append(number)
        for role, value in zip(wanted, values, strict=True):
            lists[role].append(value)

    each_row(file.container, one, reading, file.mapping)
    kinds = {role: pa.float64() if role in ("rating", "time") else pa.large_string() for role in wanted}
    table = pa.table({role: pa.array(values, kinds[role]) for role, values in lists.items()})
    return table, Places.of(file.container, np.array(numbers, np.int64), counted=False)


def assemble(
    table: pa.Table,
    places: Places,
    items: Mapping[tuple[str, str], Item],
    groups: Mapping[str, str],
    columns: Columns,
    reading: Reading,
) -> Feedback:
    """Ratings, items and groups as feedback; items, people and groups are looked up once each."""
    tally, n = reading.tally, table.num_rows
    grouped = "group" in table.column_names
    group_codes, group_names = _encoded(table["group"]) if grouped else (np.zeros(n, np.int64), [""])
    item_codes, item_names = _encoded(table["item"])
    user_codes, user_names = _encoded(table["user"])
    pair = group_codes * len(item_names) + item_codes
    pairs, of_pair = np.unique(pair, return_inverse=True)
    keys = [(group_names[p // len(item_names)], item_names[p % len(item_names)]) for p in pairs]
    found = [items.get(key) for key in keys]

    missing = np.array([f is None for f in found], bool)[of_pair]
    for j in np.flatnonzero(missing)[:: max(1, int(missing.sum()) // 1000)]:
        where = places.found([int(j)])[0]
        message, mend = f"item {keys[of_pair[j]][1]!r} is not in the table of items", "add it there"
        error = RowError("unknown-item", columns.item, message, mend)
        reading.problem(places.containers[0], where[1] or 0, where[2], error)
    keep = ~missing
    hidden = np.array([f is not None and not f.shown for f in found], bool)[of_pair]
    tally.count("{n} ratings of items that were moderated out left out", int((hidden & keep).sum()))
    keep &= ~hidden
    codes = {name: i for i, name in enumerate(user_names)}
    authors = np.array([codes.get(f.author, -1) if f and f.author else -1 for f in found], np.int64)
    own = authors[of_pair] == user_codes
    tally.count("{n} ratings of the person's own item left out", int((own & keep).sum()))
    keep &= ~own
    rating = np.asarray(table["rating"])
    if columns.rating == "vote" and set(np.unique(rating)) <= {-1.0, 0.0, 1.0}:
        tally.count(PASS, int(((rating == 0) & keep).sum()))
        keep &= rating != 0

    rows = np.flatnonzero(keep)
    subset = pa.DictionaryArray.from_arrays(pa.array(group_codes[rows], pa.int32()), pa.array(group_names))
    people, names = user_codes, user_names
    if grouped:  # people are numbered afresh in each group
        seen, people = np.unique(group_codes * len(user_names) + user_codes, return_inverse=True)
        names = [f"{group_names[s // len(user_names)]}/{user_names[s % len(user_names)]}" for s in seen]
    prompts = pa.array([groups.get(g, g) for g in group_names], pa.large_string())
    texts = pa.array([f.text if f else "" for f in found], pa.large_string())
    return Feedback.from_columns(
        prompts=pa.DictionaryArray.from_arrays(subset.indices, prompts),
        responses=pa.DictionaryArray.from_arrays(pa.array(of_pair[rows], pa.int32()), texts),
        offsets=np.arange(len(rows) + 1),
        grades=rating[rows],
        user=pa.DictionaryArray.from_arrays(pa.array(people[rows], pa.int32()), pa.array(names, pa.large_string())),
        subset=subset if grouped else None,
        scale="rating",
        time=np.asarray(table["time"])[rows] if "time" in table.column_names else None,
        places=places.take(rows),
    )


def _encoded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """(int64 codes, distinct values) of a complete column of text."""
    encoded = pa.chunked_array(column.chunks, column.type).dictionary_encode()
    if not encoded.num_chunks:
        return np.zeros(0, np.int64), [""]
    codes = np.concatenate([np.asarray(c.indices, dtype=np.int64) for c in encoded.chunks])
    return codes, encoded.chunk(0).dictionary.to_pylist() or [""]


RATINGS = Layout(
    "ratings",
    "ratings of items with their texts",
    ("ratings (user, item, rating)", "items (item, text)"),
    match,
    read,
)
