"""Figures of random estimates: their spread, averages over recorded noise, even points.

Taught in part_1/tutorial_06.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from .style import LINE_STYLES, MARKERS, OKABE_ITO

if TYPE_CHECKING:
    import matplotlib.figure


def estimate_histograms(
    panels: Mapping[str, Mapping[str, Float[Tensor, "n"]]],
    truths: Mapping[str, float | int],
    *,
    limits: tuple[float | int, float | int],
    xlabel: str,
    ylabel: str = "density",
) -> "matplotlib.figure.Figure":
    """How far estimates of the same number spread, by panel and by estimator.

    Args:
        panels: for each title, many estimates of each estimator by label.
        truths: the true number of each panel.
        limits: of the horizontal axis.
        xlabel, ylabel: with units.

    Example:
        >>> spread = {"one": {"a": torch.randn(50), "b": 2 * torch.randn(50)}}
        >>> figure = estimate_histograms(spread, {"one": 0.0}, limits=(-3, 3), xlabel="estimate")
    """
    from matplotlib import pyplot

    size = (4.75 * len(panels), 3.8)
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    bins = torch.linspace(*limits, 107).tolist()
    looks = [(OKABE_ITO["blue"], "-", 0.6), (OKABE_ITO["orange"], "--", 0.4)]
    for panel, (title, estimates) in zip(axes[0], panels.items(), strict=True):
        for (label, values), (color, ls, alpha) in zip(estimates.items(), looks, strict=False):
            kept = values.tolist()
            panel.hist(kept, bins, density=True, color=color, alpha=alpha, lw=0)
            line = {"histtype": "step", "color": color, "ls": ls, "lw": 2, "label": label}
            panel.hist(kept, bins, density=True, **line)
        panel.axvline(truths[title], color="black", ls=":", label="truth")
        panel.set(title=title, xlabel=xlabel, xlim=limits)
    axes[0, 0].set_ylabel(ylabel)
    axes[0, 0].legend()
    return figure


def averages(
    x: Float[Tensor, "n"],
    panels: Mapping[str, tuple[Float[Tensor, "n"], Float[Tensor, "lines n"]]],
    *,
    xlabel: str,
    ylabels: Sequence[str],
    marks: Mapping[str, Sequence[Sequence[int]]] | None = None,
    label: str | None = None,
) -> "matplotlib.figure.Figure":
    """Averages over samples against a parameter, beside the true curve, in several panels.

    Args:
        x: the parameter.
        panels: for each title the true curve and one or several averages.
        xlabel: of all panels.
        ylabels: of the panels; one for all makes them share their axis.
        marks: for each title and line, the positions of its markers; default: the lowest value.
        label: of the averages in the legend.

    Example:
        >>> x = torch.linspace(0.0, 1.0, 5)
        >>> figure = averages(x, {"a": (x, x.unsqueeze(0) + 0.1)}, xlabel="x", ylabels=["mean"])
    """
    from matplotlib import pyplot

    shared = len(ylabels) == 1
    size = (4.75 * len(panels), 4.0)
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=shared, squeeze=False)
    colors = [OKABE_ITO[name] for name in ("blue", "green", "purple", "vermillion")]
    for k, (panel, (title, (truth, lines))) in enumerate(zip(axes[0], panels.items(), strict=True)):
        for j, line in enumerate(lines):
            at = [int(line.argmin())] if marks is None else list(marks[title][j])
            look = {"color": colors[j], "ls": LINE_STYLES[j], "marker": MARKERS[j], "ms": 8}
            named = {"label": label} if label and not j else {}
            panel.plot(x.tolist(), line.tolist(), lw=1.6, markevery=at, **look, **named)
        style = {"color": "black", "ls": ":", "lw": 2.5, "marker": "", "label": "truth"}
        panel.plot(x.tolist(), truth.tolist(), **style)
        panel.set(title=title, xlabel=xlabel)
        if k < len(ylabels):
            panel.set_ylabel(ylabels[k])
    axes[0, -1].legend(loc="best")
    return figure


def points_in_cells(
    clouds: Mapping[str, Float[Tensor, "n 2"]], cells: int
) -> "matplotlib.figure.Figure":
    """Points of the unit square over a grid of `cells` by `cells`, a panel for each cloud.

    Example:
        >>> figure = points_in_cells({"random": torch.rand(16, 2)}, 4)
    """
    from matplotlib import pyplot

    size = (4.5 * len(clouds), 4.6)
    figure, panels = pyplot.subplots(1, len(clouds), figsize=size, sharey=True, squeeze=False)
    ticks = [k / cells for k in range(cells + 1)]
    names = ["0", *[""] * (cells - 1), "1"]
    for k, (panel, (title, points)) in enumerate(zip(panels[0], clouds.items(), strict=True)):
        dots = {"ls": "", "marker": MARKERS[k], "ms": 3.5, "color": OKABE_ITO["blue"]}
        panel.plot(*points.T.tolist(), **dots)
        panel.set(title=title, xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="u₁")
        panel.set_xticks(ticks, names)
        panel.set_yticks(ticks, names)
        panel.grid(color="0.6", alpha=1, lw=0.7)
    panels[0, 0].set_ylabel("u₂")
    return figure
