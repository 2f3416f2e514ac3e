"""Plots of data by the contract, before a model learns from them: for notebooks and `make profile`.

Numbers are histograms, categories are counted, dates show the target over time, of text there are
lengths and frequent words, of images examples. With classes as target, each plot compares them;
with a quantity, it shows the quantity by the input.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from application.scaffold.table_inspection import NO_BLANKS
from domain.contract import (
    Category,
    Classes,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Tensor,
    Text,
)
from domain.contract.outputs import Output
from domain.data.dataset import Dataset
from domain.data.tables import as_words
from infrastructure.reporting.figures import (
    COLOURS,
    CURVES,
    MOST_ROWS,
    Plot,
    new_axes,
    plot_style,
    rows_axes,
    sample_rows,
    short_label,
    to_plot,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 30
_MOST_STEPS = 50 * _BINS  # from here on, a whole number more or less in a bin is not seen
_LARGEST_WHOLE = 2.0**52  # up to here float64 holds halves, too
_MOST_POINTS = 500  # of each input: a table may have a hundred
_WIDTH, _HEIGHT = 3.6, 1.9  # inches
_MOST_TEXTS = 5_000
_MOST_IMAGES = 12
_CHANNELS = (1, 3)
_TAIL = 0.01  # share of the rows at each end that count as the ends of a clipped number
_NO_BLANKS, _LETTERS = re.compile(NO_BLANKS), re.compile(r"[^\W\d_]{2,}")
_DRAWN_YEARS = np.array(["1000", "9000"], "datetime64[s]").astype(np.int64)  # with room for axes
_MAIN, _MUTED = COLOURS["main"], COLOURS["muted"]


@dataclass(frozen=True)
class Target:
    """What is to be predicted, for each row of a table.

    Attributes:
        output: its contract.
        actual: class numbers or values, shape (n_rows,).
    """

    output: Output
    actual: np.ndarray

    @property
    def groups(self) -> list[tuple[str, np.ndarray, str]]:
        """Name, rows (bool) and colour of each class; empty for a quantity or too many classes."""
        names = self.output.names if isinstance(self.output, Classes) else ()
        if len(names) > len(CURVES):
            return []
        return [(name, self.actual == code, CURVES[code]) for code, name in enumerate(names)]

    @property
    def quantity(self) -> np.ndarray | None:
        """The values of a quantity, shape (n_rows,); None for classes."""
        return None if isinstance(self.output, Classes) else self.actual


@dataclass(frozen=True)
class Gallery:
    """Plots side by side, which a notebook shows on white."""

    plots: Sequence[Plot]

    def __repr__(self) -> str:  # or a notebook would also keep the source of the plots as text
        return f"{len(self.plots)} plots"

    def _repr_html_(self) -> str:
        variables = "".join(f"--{name}:{colour};" for name, colour in COLOURS.items())
        cells = (
            f'<figure style="margin:0" role="img" aria-label="{escape(plot.alt)}">{plot.svg}'
            f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
            for plot in self.plots
        )
        look = "background:#fff;color:var(--ink);font-family:sans-serif"
        style = f"{variables}display:flex;flex-wrap:wrap;gap:2em;{look}"
        return f'<div style="{style}">{"".join(cells)}</div>'


def draw_data(dataset: Dataset, spec: ModelSpec) -> Gallery:
    """The target and every input of a data set."""
    target = Target(spec.output, dataset.encoded_target(spec))
    plots = [draw_target(target)]
    for number, item in enumerate(spec.inputs):
        plots.append(draw_input(f"input-{number}", item, dataset.inputs[item.name], target))
    return Gallery(plots)


@plot_style()
def draw_target(target: Target) -> Plot:
    """How often each class occurs, or the histogram of a quantity."""
    output = target.output
    if isinstance(output, Classes):
        counts = np.bincount(target.actual, minlength=len(output.names))
        order = np.argsort(-counts, kind="stable")[:MOST_ROWS]
        figure = _bars([output.names[code] for code in order], counts[order], "rows")
    else:
        figure, axes = new_axes(_WIDTH, _HEIGHT)
        _histogram(axes, target.actual, [])
        axes.set_xlabel(short_label(output.name))
    return to_plot("target", figure, f"Distribution of the target {output.name}.", output.name)


@plot_style()
def draw_input(name: str, item: Input, values: pd.Series, target: Target | None = None) -> Plot:
    """One input, and how it goes with the target.

    Args:
        name: of the plot, unique in a page.
        values: as the contract takes them, of length n_rows.
    """
    draw = _DRAWN[type(item)]
    figure, alt = draw(item, values.reset_index(drop=True), target)
    unit = f" ({item.unit})" if isinstance(item, Number | Tensor) and item.unit else ""
    caption = f"{item.name}{unit}" + (f": {item.description}" if item.description else "")
    return to_plot(name, figure, f"{item.name}: {alt}.", caption)


def _draw_number(item: Number, values: pd.Series, target: Target | None) -> tuple[Figure, str]:
    numbers = values.to_numpy(np.float64)
    label = short_label(item.name)
    known = numbers[np.isfinite(numbers)]
    if item.outside == "clip" and len(known):
        numbers = np.clip(numbers, *np.quantile(known, (_TAIL, 1 - _TAIL), method="nearest"))
        label += f", clipped to {1 - 2 * _TAIL:.0%} of the rows"
    figure, axes = new_axes(_WIDTH, _HEIGHT)
    _histogram(axes, numbers, target.groups if target else [])
    if target is None or target.quantity is None:
        axes.set_xlabel(label)
        return figure, "histogram" + (" by class" if target and target.groups else "")
    below = figure.add_axes((0, -1.15, 1, 1))
    shown = sample_rows(len(numbers), _MOST_POINTS)
    below.scatter(numbers[shown], target.quantity[shown], s=6, alpha=0.4, color=_MAIN, linewidths=0)
    below.set(xlabel=label, ylabel=short_label(target.output.name), xlim=axes.get_xlim())
    axes.tick_params(labelbottom=False)
    return figure, f"histogram, and {target.output.name} by it"


def _histogram(
    axes: Axes, numbers: np.ndarray, groups: Sequence[tuple[str, np.ndarray, str]]
) -> None:
    """Rows of each bin, or of each class the share of its rows."""
    known = np.isfinite(numbers)
    edges = bin_edges(numbers[known])
    if not groups:
        axes.stairs(np.histogram(numbers[known], edges)[0], edges, fill=True, color=_MAIN)
        axes.set_ylabel("rows")
    for name, rows, colour in groups:
        counts = np.histogram(numbers[known & rows], edges)[0]
        shares = counts / max(1, counts.sum())
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(shares, edges, color=colour, label=short_label(name))
    if groups:
        axes.set_ylabel("share of the class")
        _legend(axes)


def bin_edges(numbers: np.ndarray) -> np.ndarray:
    """The edges of bins of equal width, fewer of few values, float64 of shape (n_bins + 1,).

    Each bin has as many whole numbers, if these are not too many, or multiples such as tens.
    """
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (0.0, 0.0)
    distinct = np.unique(numbers)
    if low < high and max(-low, high) <= _LARGEST_WHOLE and not (distinct % 1).any():
        step = int(np.gcd.reduce(np.diff(distinct).astype(np.int64)))
        steps = int(high - low) // step + 1
        if steps <= _MOST_STEPS:
            width = step * -(-steps // _BINS)
            return np.arange(low - step / 2, high + width, width)
    edges = np.unique(np.linspace(low, high, min(_BINS, len(distinct)) + 1))
    if len(edges) > 1:
        return edges
    half = max(1.0, abs(low)) / 2
    return np.array([low - half, low + half])


def _draw_category(_: Category, values: pd.Series, target: Target | None) -> tuple[Figure, str]:
    words = as_words(values).fillna("(missing)")
    counts = words.value_counts()[:MOST_ROWS]
    names, what = counts.index.tolist(), f"the {len(counts)} most frequent of its words"
    if target is None or not (target.groups or target.quantity is not None):
        return _bars(names, counts.to_numpy(), "rows"), f"rows of {what}"
    labels = [f"{short_label(name)} ({count})" for name, count in counts.items()]
    figure, axes = rows_axes(labels)
    if target.quantity is not None:
        means = pd.Series(target.quantity).groupby(words).mean()[names]
        axes.plot(means, range(len(means)), "o", color=_MAIN)
        axes.set_xlabel(f"mean of {short_label(target.output.name)}")
        return figure, f"mean of {target.output.name} for {what}"
    left = np.zeros(len(names))
    for name, rows, colour in target.groups:
        shares = (words[rows].value_counts().reindex(names, fill_value=0) / counts).to_numpy()
        axes.barh(range(len(names)), shares, left=left, color=colour, label=short_label(name))
        left += shares
    axes.set_xlabel("share of the rows with this word")
    _legend(axes)
    return figure, f"shares of the classes for {what}"


def _draw_dates(item: Datetime, values: pd.Series, target: Target | None) -> tuple[Figure, str]:
    moments = item.moments(values.array)
    known = ~np.isnat(moments)
    times = np.clip(moments[known].astype("datetime64[s]").astype(np.int64), *_DRAWN_YEARS)
    edges = bin_edges(times)
    bins = len(edges) - 1
    places = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, bins - 1)
    middles = ((edges[:-1] + edges[1:]) / 2).astype("datetime64[s]")
    counts = np.bincount(places, minlength=bins)
    figure, axes = new_axes(_WIDTH, _HEIGHT)
    axes.tick_params(axis="x", rotation=30)

    def means(of: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # periods without a row are gaps
            return np.bincount(places, of[known], minlength=bins) / counts

    if target is not None and target.quantity is not None:
        axes.plot(middles, means(target.quantity), ".-", color=_MAIN)
        axes.set_ylabel(f"mean of {short_label(target.output.name)}")
        return figure, f"mean of {target.output.name} over time"
    for name, rows, colour in target.groups if target else []:
        axes.plot(middles, means(rows), ".-", color=colour, label=short_label(name))
    if target and target.groups:
        axes.set(ylim=(0, 1), ylabel="share of the rows")
        _legend(axes)
        return figure, "shares of the classes over time"
    axes.plot(middles, counts, ".-", color=_MAIN)
    axes.set(ylabel="rows", ylim=(0, None))
    return figure, "rows over time"


def _draw_text(
    _: Text | HashedText, values: pd.Series, target: Target | None
) -> tuple[Figure, str]:
    lengths = values.str.len().to_numpy(np.float64)
    texts = values.dropna()
    counts = Counter(
        word
        for text in texts.iloc[sample_rows(len(texts), _MOST_TEXTS)]
        for word in frequent_parts(text)
    )
    words, rows = zip(*counts.most_common(MOST_ROWS)) if counts else ((), ())
    figure = _bars(words, np.array(rows), f"texts of {min(len(texts), _MOST_TEXTS):,}")
    axes = figure.add_axes((0, 1.25, 1, max(0.3, _HEIGHT / figure.get_figheight())))
    _histogram(axes, lengths, target.groups if target else [])
    axes.set_xlabel("characters")
    return figure, "lengths and frequent words"


def frequent_parts(text: str) -> set[str]:
    """The words of at least two letters; in scripts without blanks, pairs of characters."""
    parts: set[str] = set()
    for word in _LETTERS.findall(text):
        if _NO_BLANKS.match(word):
            parts.update(word[at : at + 2] for at in range(len(word) - 1))
        else:
            parts.add(word)
    return parts


def _draw_tensor(item: Tensor, values: pd.Series, target: Target | None) -> tuple[Figure, str]:
    """Examples of images of shape (height, width), or with channels first or last."""
    # pylint: disable-next=import-outside-toplevel  # slow to import
    from matplotlib.figure import Figure as NewFigure

    chosen = sample_rows(len(values), _MOST_IMAGES)
    images = np.stack([np.asarray(values[row], np.float64) for row in chosen])
    if images.ndim == 4 and images.shape[1] in _CHANNELS:
        images = np.moveaxis(images, 1, -1)
    if images.ndim != 3 and not (images.ndim == 4 and images.shape[-1] in _CHANNELS):
        figure, axes = new_axes(_WIDTH, _HEIGHT)
        _histogram(axes, images.ravel(), [])
        return figure, f"histogram of the numbers of {len(chosen)} rows"
    images = (images - item.minimum) / (item.maximum - item.minimum)
    labels = (
        {row: name for name, rows, _ in target.groups for row in chosen if rows[row]}
        if target
        else {}
    )
    figure = NewFigure(figsize=(4.4, 4))
    for number, (row, image) in enumerate(zip(chosen, images), 1):
        axes = figure.add_subplot(3, 4, number, xticks=[], yticks=[])
        axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(short_label(labels.get(row, "")))
    return figure, "examples"


def _bars(names: Sequence[str], counts: np.ndarray, label: str) -> Figure:
    figure, axes = rows_axes([short_label(name) for name in names])
    axes.barh(range(len(names)), counts, color=_MAIN, height=0.6)
    axes.set_xlabel(label)
    return figure


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


_DRAWN: dict[type, Callable[[Any, pd.Series, Target | None], tuple[Figure, str]]] = {
    Number: _draw_number,
    Category: _draw_category,
    Datetime: _draw_dates,
    Text: _draw_text,
    HashedText: _draw_text,
    Tensor: _draw_tensor,
}
