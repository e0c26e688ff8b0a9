"""The plots of an evaluation report, as inline SVG that takes its colours from the page (light, dark, print).

Matplotlib draws with stand-in colours; each is replaced by a CSS variable of the page's style sheet. Text stays text
(selectable, in the page's font). Names from data are drawn as they are, never as mathematics or markup.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from guerdon.errors import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from guerdon.bench.groups import Group
    from guerdon.bench.intervals import Figure
    from guerdon.bench.shots import ShotCurve

INK, SOFT, GRID, ACCENT, OTHER = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink", SOFT: "--soft", GRID: "--rule", ACCENT: "--accent", OTHER: "--other"}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def reliability(curve: Sequence[dict[str, Any]]) -> str:
    """How often the reward is right against how sure it is, one point a bin with its interval."""

    def draw(ax: Axes) -> None:
        x, y = (np.array([row[k] for row in curve], dtype=float) for k in ("confidence", "outcome"))
        low, high = (np.array([row[k] for row in curve], dtype=float) for k in ("low", "high"))
        floor = min(0.5, float(np.nanmin(np.r_[low, y]))) - 0.02
        ax.plot([0.5, 1], [0.5, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        ax.vlines(x, low, high, color=ACCENT, linewidth=2, alpha=0.45)
        ax.plot(x, y, "o-", color=ACCENT, markersize=5, linewidth=1.5)
        ax.set(xlim=(0.49, 1.01), ylim=(floor, 1.02), xlabel="how sure the reward is", ylabel="how often it is right")
        _percent(ax.xaxis)
        _percent(ax.yaxis)

    return _svg(draw, 5.0, 3.9, "reliability", "Reliability curve")


def shots(curve: ShotCurve) -> str:
    """Accuracy on unseen people against the number of shots, with intervals over people and the baselines."""

    def draw(ax: Axes) -> None:
        x = np.arange(len(curve.points))
        figures = [p.people["accuracy"] for p in curve.points]
        y, low, high = (np.array([getattr(f, k) for f in figures]) for k in ("value", "low", "high"))
        ax.fill_between(x, low, high, color=ACCENT, alpha=0.16, linewidth=0)
        ax.plot(x, y, "o-", color=ACCENT, markersize=6, linewidth=2)
        ax.axhline(y[0], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        labels = [("not adapted", float(y[0]))]
        for name, figure in curve.baselines.items():
            ax.axhline(figure.value, color=OTHER, linewidth=1, linestyle=(0, (1, 2)))
            labels.append((name, figure.value))
        spread = np.nanmax(np.r_[high, y, [v for _, v in labels]]) - np.nanmin(np.r_[low, y, [v for _, v in labels]])
        for (name, _), at in zip(labels, _apart([v for _, v in labels], 0.06 * max(spread, 0.02)), strict=True):
            colour = SOFT if name == "not adapted" else OTHER
            ax.text(1.015, at, name, color=colour, va="center", fontsize=9, transform=ax.get_yaxis_transform())
        ax.set_xticks(x, [str(p.shots) for p in curve.points])
        ax.set(xlabel="comparisons that a new person gave", ylabel="accuracy, mean over people")
        ax.set_xlim(-0.15, len(x) - 0.85)
        _percent(ax.yaxis)

    return _svg(draw, 6.4, 3.9, "shots", "Accuracy against shots")


def best_of_n(counts: Sequence[int], rows: Sequence[tuple[str, Sequence[Figure]]], unit: str = "value") -> str:
    """True value of the best of n against n (and the nats it costs), a line a reward; the first has its intervals."""

    def draw(ax: Axes) -> None:
        from guerdon.bench.best_of_n import kl

        x = np.log2(np.array(counts, dtype=float))
        for i, (name, figures) in enumerate(rows):
            y, low, high = (np.array([getattr(f, k) for f in figures]) for k in ("value", "low", "high"))
            color, style = (ACCENT, "-") if not i else (SOFT, ["--", ":", "-."][(i - 1) % 3])
            ax.plot(x, y, color=color, linestyle=style, marker="o" if not i else "", markersize=4, label=_short(name))
            if not i:
                ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        ax.set_xticks(x, [f"{n:,}\n{float(kl(n)):.1f} nats" for n in counts])
        ax.set_xlabel("n, and how far the best of n is from the policy at most")
        ax.set_ylabel(unit)
        ax.legend(frameon=False, fontsize=9)

    return _svg(draw, 7.2, 3.6, "best-of-n", "True value of the best of n")


def matrix(names: Sequence[str], values: np.ndarray, title: str) -> str:
    """Shares [row, column] of named rows over named columns as shades with their numbers; row 0 on top."""

    def draw(ax: Axes) -> None:
        ax.imshow(values, cmap="RdBu", vmin=-0.4, vmax=1.4, aspect="auto")
        for (i, j), v in np.ndenumerate(values):
            ax.text(j, i, "–" if np.isnan(v) else f"{100 * v:.1f} %", ha="center", va="center", fontsize=10)
        ax.set_xticks(range(len(names)), list(names))
        ax.set_yticks(range(len(names)), list(names))
        ax.set(xlabel="the wrong response's style", ylabel="the right one's")
        ax.tick_params(length=0)
        for side in ax.spines.values():
            side.set_visible(False)

    return _svg(draw, 5.4, 3.2, "matrix", title)


def groups(parts: Sequence[Group], overall: float) -> str:
    """Accuracy of each group with its interval, and everything's as a line."""
    rows = [(g.name, g.figures["accuracy"]) for g in parts]
    return figures(rows, overall, "groups-" + parts[0].kind, f"Accuracy by {parts[0].kind}")


def figures(rows: Sequence[tuple[str, Figure]], line: float, name: str, title: str, *, chance: float = 0.5) -> str:
    """Named shares with their intervals, a dashed line for the whole and a dotted one for chance."""

    def draw(ax: Axes) -> None:
        y = np.arange(len(rows))[::-1]
        value, low, high = (np.array([getattr(f, k) for _, f in rows]) for k in ("value", "low", "high"))
        ax.axvline(chance, color=SOFT, linewidth=1, linestyle=(0, (1, 2)))
        ax.axvline(line, color=OTHER, linewidth=1, linestyle=(0, (4, 3)))
        ax.hlines(y, low, high, color=ACCENT, linewidth=3, alpha=0.45)
        ax.plot(value, y, "o", color=ACCENT, markersize=6)
        ax.set_yticks(y, [_short(text) for text, _ in rows])
        ax.tick_params(axis="y", labelcolor=INK)
        ax.grid(axis="y", visible=False)
        ax.spines["left"].set_visible(False)
        ax.set_ylim(-0.7, len(rows) - 0.3)
        everything = np.r_[low, high, value, line, chance]
        room = 0.03
        ax.set_xlim(np.nanmin(everything) - room, min(np.nanmax(everything) + room, 1.03))
        ax.set_xlabel("accuracy")
        _percent(ax.xaxis)

    return _svg(draw, 8.4, 0.75 + 0.29 * len(rows), name, title)


def people(deciles: Sequence[dict[str, float]]) -> str:
    """Accuracy of each tenth of the people, worst first, beside what luck alone would give."""

    def draw(ax: Axes) -> None:
        x = np.array([row["decile"] for row in deciles])
        ax.bar(x, [row["accuracy"] for row in deciles], width=0.7, color=ACCENT, alpha=0.75, linewidth=0)
        chance = [row["by_chance"] for row in deciles]
        ax.plot(x, chance, "_", color=INK, markersize=18, markeredgewidth=2)
        ax.set_xticks(x, ["worst\ntenth", *[""] * (len(x) - 2), "best\ntenth"])
        ax.grid(axis="x", visible=False)
        ax.set(ylabel="accuracy", ylim=(0, 1.04))
        _percent(ax.yaxis)

    return _svg(draw, 6.4, 3.2, "people", "Accuracy by tenth of the people; dashes: what luck alone would give")


# ---------------------------------------------------------------------------------------------------- drawing


def _svg(draw: Callable[[Axes], None], width: float, height: float, name: str, title: str) -> str:
    """One inline ``<svg>`` of ``draw``; sizes in inches of 72 px."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise need("matplotlib", "plot") from None
    # the salt makes ids differ between the plots of one page and agree between two runs
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # glyphs that matplotlib's own font lacks: the browser's has them
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), title)


def _inline(svg: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(
        r' id="(?:figure|axes|matplotlib\.axis|xtick|ytick|patch|line2d|text|legend|[A-Z]\w*Collection)_\d+"', "", svg
    )
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    width, height = (float(v) for v in re.findall(r' (?:width|height)="([\d.]+)pt"', svg[:300])[:2])
    size = f'style="max-width: {4 / 3 * width:.0f}px" viewBox="0 0 {width:g} {height:g}"'
    head = f'<svg role="img" aria-label="{title}" {size}>'
    return re.sub(r"<svg[^>]*>", head, svg, count=1)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{round(100 * v, 6):g} %"))


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """``values`` moved apart to at least ``gap``, in their order, so that labels do not overlap."""
    order = np.argsort(values)
    out = np.array(values, dtype=float)
    for before, after in pairwise(order):
        out[after] = max(out[after], out[before] + gap)
    return (out - (out - np.array(values)).mean()).tolist()


def _short(name: str, most: int = 44) -> str:
    flat = " ".join(name.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
