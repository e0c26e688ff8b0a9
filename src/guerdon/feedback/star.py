"""Feedback as a star: one table of unique candidates, ragged judgements pointing into it, string tables for names.

Each distinct (prompt, response) is stored once and therefore encoded once, however many people judged it. All
numeric columns are numpy arrays, all text is Arrow; nothing is a Python object per row until somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from guerdon.errors import FeedbackError
from guerdon.feedback.interning import codes_of, intern, number_candidates, text_or_none
from guerdon.feedback.messages import Text, pack, unpack
from guerdon.feedback.places import Places
from guerdon.feedback.schema import SCALES, SOURCES, Candidates, Judgement

if TYPE_CHECKING:
    from datasets import Dataset

SplitBy = Literal["user", "prompt", "judgement", "candidate"]


@dataclass(frozen=True)
class Pairs:
    """Comparisons of two candidates, derived from feedback; all arrays have length n.

    ``a``, ``b`` index ``Feedback.candidates``; ``p`` is P(a preferred to b) in [0, 1]; ``strength`` the grade
    difference (>= 0), or what the judgement says instead (any sign); ``user`` and ``criterion`` index the name tables
    (-1 = none); ``judgement`` is the row it came from (for pairs made from two ratings, the row of ``a``).
    """

    a: np.ndarray
    b: np.ndarray
    p: np.ndarray
    strength: np.ndarray
    weight: np.ndarray
    user: np.ndarray
    criterion: np.ndarray
    judgement: np.ndarray

    def __len__(self) -> int:
        return len(self.a)

    def take(self, index: np.ndarray) -> Pairs:
        """The pairs at ``index`` (indices or a mask)."""
        return Pairs(**{k: v[index] for k, v in vars(self).items()})

    @staticmethod
    def concatenate(parts: Sequence[Pairs]) -> Pairs:
        """All pairs of ``parts`` in order."""
        return Pairs(**{k: np.concatenate([getattr(p, k) for p in parts]) for k in Pairs.__dataclass_fields__})


@dataclass(frozen=True)
class Feedback:
    """Many judgements, immutable. Make one with :meth:`read`, :meth:`of` or :meth:`from_columns`.

    Shapes: P prompts, C candidates, J judgements, M judged responses (M = ``offsets[-1]``).

    prompts    large_string [P], packed (see ``messages.pack``); unique
    prompt_of  int32 [C] index into ``prompts``
    responses  large_string [C], packed
    offsets    int64 [J + 1]; judgement j owns ``items[offsets[j]:offsets[j+1]]``
    items      int32 [M] index into candidates; all of one prompt within a judgement
    grades     float64 [M] higher is better
    user, criterion, subset  int32 [J] index into ``users``, ``criteria``, ``subsets``; -1 = none
    source, scale            int8 [J] index into ``SOURCES``, ``SCALES``
    weight     float64 [J] >= 0
    comment, id  large_string [J] or None;  time  float64 [J] seconds since the epoch, NaN = unknown, or None
    strength   float64 [J] in the place of grade differences, NaN = they say it, or None
    """

    prompts: pa.LargeStringArray
    prompt_of: np.ndarray
    responses: pa.LargeStringArray
    offsets: np.ndarray
    items: np.ndarray
    grades: np.ndarray
    user: np.ndarray
    criterion: np.ndarray
    subset: np.ndarray
    source: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    users: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    comment: pa.LargeStringArray | None = None
    id: pa.LargeStringArray | None = None
    time: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    """What a reader recognised, dropped or set aside, in sentences."""
    places: Places | None = None
    """Where the judgements were read from."""
    strength: np.ndarray | None = None

    # ------------------------------------------------------------------ making

    @classmethod
    def read(cls, source: Any, **options: Any) -> Feedback:
        """Read a file, directory, ``-``, or ``hf:org/name[:split]``; see :func:`guerdon.feedback.readers.read`."""
        from guerdon.feedback.readers import read

        return read(source, **options)

    @classmethod
    def of(cls, judgements: Iterable[Judgement]) -> Feedback:
        """Feedback of judgement records (small sets, tests, examples)."""
        rows = list(judgements)
        for j, row in enumerate(rows):
            if len(row.responses) != len(row.grades):
                n, m = len(row.responses), len(row.grades)
                raise FeedbackError(f"judgement {j}: {n} responses but {m} grades; give one grade a response")
        lengths = np.array([len(r.responses) for r in rows], dtype=np.int64)
        return cls.from_columns(
            prompts=[pack(r.prompt) for r in rows],
            responses=[pack(x) for r in rows for x in r.responses],
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            grades=np.array([g for r in rows for g in r.grades], dtype=np.float64),
            user=[r.user for r in rows],
            criterion=[r.criterion for r in rows],
            subset=[r.subset for r in rows],
            source=[r.source for r in rows],
            scale=[r.scale for r in rows],
            weight=np.array([r.weight for r in rows], dtype=np.float64),
            comment=[r.comment for r in rows],
            id=[r.id for r in rows],
            time=np.array([np.nan if r.time is None else r.time for r in rows], dtype=np.float64),
            strength=np.array([np.nan if r.strength is None else r.strength for r in rows], dtype=np.float64),
        )

    @classmethod
    def from_columns(
        cls,
        *,
        prompts: Any,
        responses: Any,
        offsets: np.ndarray,
        grades: np.ndarray,
        user: Any = None,
        criterion: Any = None,
        subset: Any = None,
        source: Any = "unknown",
        scale: Any = "order",
        weight: np.ndarray | None = None,
        comment: Any = None,
        id: Any = None,
        time: np.ndarray | None = None,
        strength: np.ndarray | None = None,
        notes: tuple[str, ...] = (),
        places: Places | None = None,
    ) -> Feedback:
        """Index columns into a star.

        prompts    [J] packed strings (list, Arrow array, chunked array, dictionary array)
        responses  [M] packed strings, flat; or a tuple of k columns [J]: the k responses of every judgement
        user, criterion, subset, comment, id: [J] strings with nulls, or None;  source, scale: one name or [J] names
        The other columns are as the class says. Nothing is validated here beyond shapes: see :meth:`validate`.
        """
        offsets = np.asarray(offsets, dtype=np.int64)
        n = len(offsets) - 1
        prompt_codes, prompt_names = intern(prompts)
        if isinstance(responses, tuple):  # interned together, interleaved as codes: no text is copied
            columns = [c.chunks if isinstance(c, pa.ChunkedArray) else [c] for c in responses]
            response_codes, response_names = intern(pa.chunked_array([chunk for c in columns for chunk in c]))
            response_codes = response_codes.reshape(len(responses), n).T.ravel()
        else:
            response_codes, response_names = intern(responses)
        if len(prompt_codes) != n or len(response_codes) != offsets[-1] or len(grades) != offsets[-1]:
            raise FeedbackError(
                f"columns do not fit: {n} judgements by the offsets, {len(prompt_codes)} prompts, "
                f"{len(response_codes)} responses, {len(grades)} grades"
            )
        prompt_of_item = np.repeat(prompt_codes, np.diff(offsets))
        items, prompt_of, response_of = number_candidates(prompt_of_item, response_codes, len(response_names))

        def names(column: Any) -> tuple[np.ndarray, tuple[str, ...]]:
            if column is None:
                return np.full(n, -1, dtype=np.int32), ()
            codes, table = intern(column)
            return codes, tuple(table.to_pylist())

        user_codes, users = names(user)
        criterion_codes, criteria = names(criterion)
        subset_codes, subsets = names(subset)
        return cls(
            prompts=prompt_names,
            prompt_of=prompt_of,
            responses=response_names if response_of is None else response_names.take(pa.array(response_of)),
            offsets=offsets,
            items=items,
            grades=np.asarray(grades, dtype=np.float64),
            user=user_codes,
            criterion=criterion_codes,
            subset=subset_codes,
            source=codes_of(source, SOURCES, n, "source"),
            scale=codes_of(scale, SCALES, n, "scale"),
            weight=np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64),
            users=users,
            criteria=criteria,
            subsets=subsets,
            comment=text_or_none(comment),
            id=text_or_none(id),
            time=None if time is None or np.all(np.isnan(time)) else np.asarray(time, dtype=np.float64),
            strength=None if strength is None or np.all(np.isnan(strength)) else np.asarray(strength, dtype=np.float64),
            notes=notes,
            places=places,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Feedback]) -> Feedback:
        """All judgements of ``parts`` in order, over one table of unique candidates."""
        if len(parts) == 1:
            return parts[0]

        def strings(name: str) -> pa.ChunkedArray | None:
            columns = [getattr(p, name) for p in parts]
            if all(c is None for c in columns):
                return None
            empty = [pa.nulls(len(p), pa.large_string()) for p in parts]
            return pa.chunked_array([e if c is None else c for c, e in zip(columns, empty, strict=True)])

        def named(codes: str, table: str) -> pa.ChunkedArray:
            columns = []
            for p in parts:
                code = getattr(p, codes)
                names = pa.array(getattr(p, table), pa.large_string())
                columns.append(names.take(pa.array(code, mask=code < 0)))
            return pa.chunked_array(columns)

        sizes = np.concatenate([p.sizes for p in parts])
        times, strengths = (
            np.concatenate([np.full(len(p), np.nan) if getattr(p, k) is None else getattr(p, k) for p in parts])
            for k in ("time", "strength")
        )
        together = cls.from_columns(
            prompts=pa.chunked_array([p.prompts.take(pa.array(p.judgement_prompt)) for p in parts]),
            responses=pa.chunked_array([p.responses.take(pa.array(p.items)) for p in parts]),
            offsets=np.concatenate([[0], np.cumsum(sizes)]),
            grades=np.concatenate([p.grades for p in parts]),
            user=named("user", "users"),
            criterion=named("criterion", "criteria"),
            subset=named("subset", "subsets"),
            weight=np.concatenate([p.weight for p in parts]),
            comment=strings("comment"),
            id=strings("id"),
            time=times,
            strength=strengths,
            notes=tuple(dict.fromkeys(note for p in parts for note in p.notes)),
        )
        codes = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("source", "scale")}
        places = Places.concatenate([p.places for p in parts], [len(p) for p in parts])
        return replace(together, places=places, **codes)

    # ------------------------------------------------------------------ looking

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """int64 [J] how many responses each judgement looked at."""
        return np.diff(self.offsets)

    @property
    def judgement_prompt(self) -> np.ndarray:
        """int32 [J] index of each judgement's prompt."""
        return self.prompt_of[self.items[self.offsets[:-1]]]

    @cached_property
    def candidates(self) -> Candidates:
        """The unique candidates, in index order (Python values: made on first use)."""
        prompts = [unpack(s) for s in self.prompts.to_pylist()]
        return Candidates(
            prompts=[prompts[i] for i in self.prompt_of], responses=[unpack(s) for s in self.responses.to_pylist()]
        )

    @property
    def used(self) -> np.ndarray:
        """int32 indices of the candidates that at least one judgement points to, ascending."""
        return np.unique(self.items)

    def candidate(self, index: int) -> tuple[Text, Text]:
        """(prompt, response) of one candidate without materialising the others."""
        return unpack(self.prompts[int(self.prompt_of[index])].as_py()), unpack(self.responses[int(index)].as_py())

    def judgements(self) -> Iterator[Judgement]:
        """The judgements as records, in order."""
        comment = self.comment.to_pylist() if self.comment is not None else None
        ids = self.id.to_pylist() if self.id is not None else None
        for j in range(len(self)):
            lo, hi = self.offsets[j], self.offsets[j + 1]
            items = self.items[lo:hi]
            time = None if self.time is None or np.isnan(self.time[j]) else float(self.time[j])
            told = None if self.strength is None or np.isnan(self.strength[j]) else float(self.strength[j])
            yield Judgement(
                prompt=unpack(self.prompts[int(self.prompt_of[items[0]])].as_py()),
                responses=tuple(unpack(self.responses[int(i)].as_py()) for i in items),
                grades=tuple(float(g) for g in self.grades[lo:hi]),
                user=_name(self.users, self.user[j]),
                criterion=_name(self.criteria, self.criterion[j]),
                subset=_name(self.subsets, self.subset[j]),
                source=SOURCES[self.source[j]],
                scale=SCALES[self.scale[j]],
                weight=float(self.weight[j]),
                comment=comment[j] if comment else None,
                id=ids[j] if ids else None,
                time=time,
                strength=told,
            )

    def describe(self) -> dict[str, Any]:
        """Counts and shares that tell what kind of feedback this is (JSON-ready)."""
        from guerdon.feedback.describe import describe

        return describe(self)

    def validate(self, **options: Any) -> list[Any]:
        """Everything wrong or suspicious, as :class:`guerdon.feedback.validate.Problem` records."""
        from guerdon.feedback.validate import validate

        return validate(self, **options)

    # ------------------------------------------------------------------ choosing

    def take(self, judgements: np.ndarray) -> Feedback:
        """The judgements at ``judgements`` (indices or a mask), in that order. The candidate table is shared."""
        rows = np.flatnonzero(judgements) if np.asarray(judgements).dtype == bool else np.asarray(judgements)
        sizes = self.sizes[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        flat = np.repeat(self.offsets[:-1][rows] - offsets[:-1], sizes) + np.arange(offsets[-1])
        rows_pa = pa.array(rows)
        return replace(
            self,
            offsets=offsets,
            items=self.items[flat],
            grades=self.grades[flat],
            comment=None if self.comment is None else self.comment.take(rows_pa),
            id=None if self.id is None else self.id.take(rows_pa),
            time=None if self.time is None else self.time[rows],
            strength=None if self.strength is None else self.strength[rows],
            places=None if self.places is None else self.places.take(rows),
            **{k: getattr(self, k)[rows] for k in ("user", "criterion", "subset", "source", "scale", "weight")},
        )

    def where(
        self,
        *,
        user: str | Iterable[str] | None = None,
        criterion: str | Iterable[str] | None = None,
        subset: str | Iterable[str] | None = None,
        source: str | Iterable[str] | None = None,
        prompt: Callable[[Text], bool] | None = None,
    ) -> Feedback:
        """The judgements whose columns equal the given name (or one of the given names)."""
        keep = np.ones(len(self), dtype=bool)
        columns = {"user": (user, self.users), "criterion": (criterion, self.criteria)}
        columns |= {"subset": (subset, self.subsets), "source": (source, SOURCES)}
        for column, (wanted, table) in columns.items():
            if wanted is None:
                continue
            wanted_names = {wanted} if isinstance(wanted, str) else set(wanted)
            missing = wanted_names - set(table)
            if missing:
                known = ", ".join(table[:5]) + (", ..." if len(table) > 5 else "") or "none"
                raise FeedbackError(f"no {column} {sorted(missing)[0]!r} in this feedback; it has: {known}")
            codes = [i for i, name in enumerate(table) if name in wanted_names]
            keep &= np.isin(getattr(self, column), codes)
        if prompt is not None:
            good = np.array([prompt(unpack(s)) for s in self.prompts.to_pylist()], dtype=bool)
            keep &= good[self.judgement_prompt]
        return self.take(keep)

    def split(self, by: SplitBy = "prompt", holdout: float = 0.1, seed: int = 0) -> tuple[Feedback, Feedback]:
        """(train, held out) with no ``by`` unit on both sides; see :mod:`guerdon.feedback.split`."""
        from guerdon.feedback.split import split

        return split(self, by=by, holdout=holdout, seed=seed)

    # ------------------------------------------------------------------ using

    def pairs(
        self, *, ties: bool = True, min_gap: float = 0.0, max_per_person: int | None = None, seed: int = 0
    ) -> Pairs:
        """Comparisons implied by the judgements; see :func:`guerdon.feedback.pairs.make_pairs`."""
        from guerdon.feedback.pairs import make_pairs

        return make_pairs(self, ties=ties, min_gap=min_gap, max_per_person=max_per_person, seed=seed)

    def write(self, path: Any, **options: Any) -> list[str]:
        """Write to ``path`` (format by suffix or ``format=``); returns sentences on what the format cannot hold."""
        from guerdon.feedback.writers import write

        return write(self, path, **options)

    def to_trl(self) -> Dataset:
        """A ``datasets.Dataset`` in TRL's preference format with explicit prompt (``prompt, chosen, rejected``)."""
        from guerdon.feedback.writers import to_trl

        return to_trl(self)


def _name(table: tuple[str, ...], code: int) -> str | None:
    return table[code] if code >= 0 else None
