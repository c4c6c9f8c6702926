"""Figures of curves: several lines, predictions against measurements, intervals.

Taught in part_1/tutorial_03.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from .style import GREY, LINE_STYLES, OKABE_ITO, figure_and_axes, line_look

if TYPE_CHECKING:
    import matplotlib.figure


def curves(
    x: Float[Tensor, "n"],
    lines: Mapping[str, Float[Tensor, "n"]],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    marks: Mapping[str, float | int] | None = None,
) -> "matplotlib.figure.Figure":
    """Lines over a common axis, told apart by colour, line style and marker.

    Args:
        x: where the values stand.
        lines: the values by label; NaN and infinities leave a gap.
        xlabel, ylabel: what the axes show, with units.
        log: which axes are logarithmic: "x", "y" or "xy".
        marks: positions on the x axis by label, drawn as vertical lines.

    Raises:
        ShapeError: a line of another length than x.

    Example:
        >>> x = torch.linspace(1.0, 2.0, 5)
        >>> labels = {"xlabel": "step", "ylabel": "loss"}
        >>> figure = curves(x, {"square": x**2, "cube": x**3}, log="y", **labels)
    """
    figure, panel = figure_and_axes(None)
    for k, (label, y) in enumerate(lines.items()):
        if y.shape != x.shape:
            raise ShapeError(f"{label}: expected {len(x)} values, got shape {tuple(y.shape)}")
        shown = y.masked_fill(~y.isfinite(), torch.nan).tolist()
        every = max(1, len(x) // 8)
        mark = (k * every // len(lines), every)
        panel.plot(x.tolist(), shown, label=label, markevery=mark, **line_look(k))
    for k, (label, position) in enumerate((marks or {}).items()):
        style = {"color": OKABE_ITO["black"], "ls": LINE_STYLES[3 - k % 3], "lw": 1.6}
        panel.axvline(float(position), label=label, zorder=1, **style)
    panel.set(xlabel=xlabel, ylabel=ylabel)
    if "x" in log:
        panel.set_xscale("log")
    if "y" in log:
        panel.set_yscale("log")
    if len(lines) + len(marks or {}) > 1:
        panel.legend()
    return figure


def predicted_and_measured(
    measured: Float[Tensor, "n"],
    predicted: Mapping[str, Float[Tensor, "n"]],
    *,
    unit: str,
) -> "matplotlib.figure.Figure":
    """One small panel for each set of predictions; right ones lie on the diagonal.

    Args:
        measured: what was seen.
        predicted: what was predicted for the same points, by title.
        unit: of both.

    Example:
        >>> y = torch.tensor([1.0, 2.0, 3.0])
        >>> figure = predicted_and_measured(y, {"start": 0 * y, "end": y}, unit="cm")
    """
    from matplotlib import pyplot

    size = (2.6 * len(predicted) + 0.6, 3.3)
    figure, panels = pyplot.subplots(
        1, len(predicted), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    values = torch.stack([measured, *predicted.values()])
    ends = [values.min().item(), values.max().item()]
    for panel, (title, y) in zip(panels[0], predicted.items(), strict=True):
        panel.plot(ends, ends, color=GREY, ls="--", lw=1.5)
        panel.plot(y.tolist(), measured.tolist(), color=OKABE_ITO["blue"], ls="", marker="o")
        panel.set_title(title)
        panel.set_xlabel(f"predicted ({unit})")
        panel.set_aspect("equal")
    panels[0, 0].set_ylabel(f"measured ({unit})")
    return figure


def with_intervals(
    measured: Mapping[str, tuple[Tensor, Float[Tensor, "..."]]],
    lines: Mapping[str, tuple[Tensor, Float[Tensor, "..."]]],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.figure.Figure":
    """Measured points with their intervals, over the lines that a theory predicts.

    Args:
        measured: by label, where the points stand (`n`), and low end, value and high end (`3 n`).
            If they stand at integers, so do the ticks.
        lines: by label, the coordinates of a line.
        xlabel, ylabel: what the axes show, with units.
        log: which axes are logarithmic: "x", "y" or "xy".
        ax: where to draw; a new figure without it.

    Raises:
        ShapeError: not three numbers for each point.

    Example:
        >>> x = torch.tensor([1.0, 2.0])
        >>> points = {"counted": (x, torch.stack([x - 0.2, x, x + 0.2]))}
        >>> figure = with_intervals(points, {"theory": (x, x)}, xlabel="x", ylabel="y")
    """
    figure, panel = figure_and_axes(ax)
    for k, (label, (x, y)) in enumerate(lines.items()):
        style = line_look(k) | {"marker": ""}
        panel.plot(x.tolist(), y.tolist(), label=label, **style)
    for k, (label, (x, table)) in enumerate(measured.items()):
        if x.ndim != 1 or table.shape != (3, len(x)):
            raise ShapeError(
                f"{label}: expected low end, value and high end for each of {len(x)} points, got "
                f"shape {tuple(table.shape)}"
            )
        low, value, high = table
        style = line_look(k + len(lines)) | {"ls": "", "mec": "black", "capsize": 4, "lw": 1.6}
        ends = torch.stack([value - low, high - value]).tolist()
        panel.errorbar(x.tolist(), value.tolist(), yerr=ends, label=label, **style)
    if "x" in log:
        panel.set_xscale("log")
    elif not any(x.is_floating_point() for x, _ in measured.values()):
        panel.xaxis.get_major_locator().set_params(integer=True)
    if "y" in log:
        panel.set_yscale("log")
    panel.set(xlabel=xlabel, ylabel=ylabel)
    panel.legend()
    return figure
