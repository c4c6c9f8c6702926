"""Figures of iterations: cobwebs, basins, bifurcations, descents, phase portraits.

Taught in part_2.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import stats
from ..errors import ShapeError
from .style import (
    GREY,
    HATCHES,
    LINE_STYLES,
    MARKERS,
    OKABE_ITO,
    PALE,
    figure_and_axes,
    line_look,
    short_number,
)

if TYPE_CHECKING:
    import matplotlib.figure


def cobweb(
    panels: Mapping[str, tuple[Callable[[Tensor], Tensor], Float[Tensor, "..."]]],
    window: tuple[float | int, float | int],
    *,
    mirror: bool = False,
) -> "matplotlib.figure.Figure":
    """Orbits of maps of one number: up or down to the curve, across to the diagonal, and again.

    Args:
        panels: by title, the map and the orbit x_0, x_1, ... (`t`) to draw over it.
        window: the range of both axes; an orbit that leaves it is cut there.
        mirror: draw the line x_next = -x as well.

    Example:
        >>> orbit = torch.tensor([1.0, -0.5, 0.25])
        >>> figure = cobweb({"lr = 1.5": (lambda x: -0.5 * x, orbit)}, (-1.2, 1.2))
    """
    from matplotlib import pyplot

    size = (3.1 * len(panels) + 0.6, 3.9) if len(panels) > 1 else (5.6, 5.4)
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    low, high = window
    x = torch.linspace(low, high, 401, dtype=torch.float64)
    for panel, (title, (step, orbit)) in zip(axes[0], panels.items(), strict=True):
        panel.plot([low, high], [low, high], color=GREY, ls="--", lw=1.5, label="stay: y = x")
        if mirror:
            style = {"color": GREY, "ls": ":", "lw": 1.8, "label": "mirror: y = −x"}
            panel.plot([low, high], [-low, -high], **style)
        panel.plot(x.tolist(), step(x).tolist(), color=OKABE_ITO["blue"], lw=2.6, label="the map")
        path = orbit.repeat_interleave(2).tolist()  # x0 x0 x1 x1 x2 ...: corners of the staircase
        style = {"color": OKABE_ITO["vermillion"], "ls": "-", "lw": 1.3, "label": "the orbit"}
        panel.plot(path[:-2], path[1:-1], **style)
        style = {"color": OKABE_ITO["vermillion"], "mec": "black", "ls": "", "label": "start"}
        panel.plot(path[:1], path[:1], marker="o", ms=8, **style)
        panel.set(xlim=(low, high), ylim=(low, high), title=title, xlabel="x now")
        panel.set_aspect("equal")
    axes[0, 0].set_ylabel("x after one step")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False
    )
    return figure


ENDS = {
    1.0: ("ends at +1", "sky", ""),
    -1.0: ("ends at −1", "orange", "///"),
    float("inf"): ("diverges", "black", "xxx"),
}
"""How `basin_strips` draws each end: label, colour, hatch."""


def basin_strips(
    strips: Mapping[str, tuple[Float[Tensor, "..."], Float[Tensor, "..."]]],
    edge: float | None = None,
) -> "matplotlib.figure.Figure":
    """Where starts on a line end, one strip for each title, each with its own axis.

    Args:
        strips: by title, the starts (`n`) in ascending order and where each ends: 1, -1 or
            infinity. Neighbours that end in the same place become one hatched bar.
        edge: a place to mark in every strip that contains it.

    Raises:
        ShapeError: not one end for each start.

    Example:
        >>> x = torch.linspace(-2.0, 2.0, 9)
        >>> figure = basin_strips({"two sides": (x, x.sign().masked_fill(x == 0, 1.0))})
    """
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    size = (9.0, 1.15 * len(strips) + 1.0)
    figure, axes = pyplot.subplots(len(strips), 1, figsize=size, squeeze=False)
    for panel, (title, (x, ends)) in zip(axes[:, 0], strips.items(), strict=True):
        if x.shape != ends.shape:
            raise ShapeError(f"{title}: {tuple(x.shape)} starts, but {tuple(ends.shape)} ends")
        changes = (ends[1:] != ends[:-1]).nonzero().flatten() + 1
        borders = [0, *changes.tolist(), len(x)]
        places = [x[0].item(), *((x[changes] + x[changes - 1]) / 2).tolist(), x[-1].item()]
        for first, left, right in zip(borders[:-1], places[:-1], places[1:], strict=True):
            _label, color, hatch = ENDS[ends[first].item()]
            face = "white" if hatch == "xxx" else OKABE_ITO[color]
            style = {"facecolor": face, "edgecolor": "black", "hatch": hatch, "lw": 0.8}
            panel.axvspan(left, right, **style)
        if edge is not None and x[0] < edge < x[-1]:
            panel.plot([edge], [1.0], marker="v", color="black", ms=9, clip_on=False)
        panel.set(xlim=(x[0].item(), x[-1].item()), ylim=(0, 1), yticks=[])
        panel.set_title(title, loc="left", size=12)
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    axes[-1, 0].set_xlabel("start x")
    keys = [
        Patch(fc="white" if h == "xxx" else OKABE_ITO[c], ec="black", hatch=h, label=label)
        for label, c, h in ENDS.values()
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False)
    return figure


def bifurcation(
    parameter: Float[Tensor, " n"],
    visited: Float[Tensor, "..."],
    *,
    xlabel: str,
    ylabel: str,
    marks: Mapping[str, float | int] | None = None,
) -> "matplotlib.figure.Figure":
    """The places that an orbit visits in the long run, for each value of a parameter.

    Args:
        parameter: the values.
        visited: late iterates, `t n`: one column for each value.
        xlabel, ylabel: what the axes show.
        marks: values of the parameter to mark by a vertical line.

    Raises:
        ShapeError: not one column for each value.

    Example:
        >>> lr = torch.linspace(0.0, 1.0, 5)
        >>> figure = bifurcation(lr, torch.stack([lr, -lr]), xlabel="lr", ylabel="x")
    """
    if visited.ndim != 2 or visited.shape[-1:] != parameter.shape:
        raise ShapeError(
            f"visited: expected one column for each of {len(parameter)} values, got shape "
            f"{tuple(visited.shape)}"
        )
    figure, panel = figure_and_axes(None)
    figure.set_size_inches(9.0, 5.0)
    x = parameter.expand_as(visited).flatten().tolist()
    panel.plot(x, visited.flatten().tolist(), ls="", marker=",", color="black", alpha=0.5)
    for k, (label, place) in enumerate((marks or {}).items()):
        color = list(OKABE_ITO.values())[k % 4]
        panel.axvline(float(place), color=color, ls=LINE_STYLES[1 + k % 4], lw=1.8, label=label)
    panel.set(xlabel=xlabel, ylabel=ylabel, xlim=(parameter.min().item(), parameter.max().item()))
    panel.grid(visible=False)
    if marks:
        panel.legend(loc="lower left")
    return figure


def descents(
    panels: Mapping[str, tuple[Callable[[Tensor], Tensor], Mapping[str, Float[Tensor, "..."]]]],
    windows: Sequence[tuple[float | int, float | int]],
    *,
    labels: Sequence[tuple[str, str]] = (("x₁", "x₂"),),
) -> "matplotlib.figure.Figure":
    """Level lines of losses of two inputs around a minimum of zero at the origin, and paths there.

    The heights of the level lines are as the squares 1, 4, 9, ..., which spaces the lines of a bowl
    evenly; the fifth passes through the highest start.

    Args:
        panels: by title, the loss (`*batch 2` to `*batch`) and the paths (`t 2`) by label. The
            same label looks the same in all panels.
        windows: how far the two axes reach from 0, for each panel, or once for all.
        labels: what the axes show, for each panel, or once for all.

    Raises:
        ShapeError: a path that is no table of points with two coordinates.

    Example:
        >>> path = torch.tensor([[1.0, 1.0], [0.5, -0.5]])
        >>> bowl = (lambda x: x.square().sum(-1), {"path": path})
        >>> figure = descents({"a round bowl": bowl}, [(1.5, 1.2)])
    """
    from matplotlib import pyplot

    width = 3.7 if len(panels) > 1 else 6.6
    tallest = max(top / right for right, top in windows)
    size = (width * len(panels) + 0.4, 0.85 * width * tallest + 1.2)
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, squeeze=False)
    seen: dict[str, Any] = {}
    for k, (panel, title) in enumerate(zip(axes[0], panels, strict=True)):
        loss, paths = panels[title]
        for label, path in paths.items():
            if path.ndim != 2 or path.shape[-1] != 2:
                raise ShapeError(f"{label}: expected shape t 2, got {tuple(path.shape)}")
        right, top = windows[k % len(windows)]
        u, v = (torch.linspace(-end, end, 161, dtype=torch.float64) for end in (right, top))
        heights = loss(torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1))
        start = max(float(loss(path[0])) for path in paths.values())
        levels = [start * (j / 5) ** 2 for j in range(1, 13)]
        grid = (u.tolist(), v.tolist(), heights.tolist())
        panel.contour(*grid, levels, colors=GREY, linewidths=0.9, alpha=0.7)
        for label, path in paths.items():
            style = line_look(list(seen).index(label) if label in seen else len(seen))
            long = len(path) > 60  # a curve has no markers, and lies under the paths that have some
            style |= {"ms": 5, "lw": 2.2 if long else 1.6, "zorder": 2 if long else 3}
            every = len(path) + 1 if long else 1
            (line,) = panel.plot(*path.T.tolist(), markevery=every, **style)
            seen.setdefault(label, line)
        panel.plot([0.0], [0.0], ls="", marker="+", ms=11, mew=2, color="black")
        xlabel, ylabel = labels[k % len(labels)]
        panel.set(xlim=(-right, right), ylim=(-top, top), title=title)
        panel.set(xlabel=xlabel, ylabel=ylabel)
        panel.set_aspect("equal")
        panel.grid(visible=False)
    figure.legend(seen.values(), list(seen), loc="outside lower center", ncols=4, frameon=False)
    return figure


def phase_portrait(
    panels: Mapping[str, Float[Tensor, "t k 2"]], *, xlabel: str, ylabel: str
) -> "matplotlib.figure.Figure":
    """Position against velocity, one panel for each title; the first path stands out.

    Args:
        panels: by title, k paths of pairs (position, velocity). All panels have the same axes.
        xlabel, ylabel: what the axes show.

    Example:
        >>> angle = torch.linspace(0.0, 6.28, 50)
        >>> circle = torch.stack([angle.cos(), -angle.sin()], -1).unsqueeze(1)
        >>> figure = phase_portrait({"no friction": circle}, xlabel="x", ylabel="velocity")
    """
    from matplotlib import pyplot

    size = (3.3 * len(panels) + 0.6, 3.9)
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for panel, (title, paths) in zip(axes[0], panels.items(), strict=True):
        for path in paths[:, 1:].unbind(1):
            panel.plot(*path.T.tolist(), color=GREY, ls="-", lw=0.9, alpha=0.7)
            panel.plot(*path[:1].T.tolist(), color=GREY, marker=".", ls="")
        first = paths[:, 0]
        panel.plot(*first.T.tolist(), color=OKABE_ITO["vermillion"], lw=2.4, label="the path")
        style = {"color": OKABE_ITO["vermillion"], "mec": "black", "ls": "", "ms": 8}
        panel.plot(*first[:1].T.tolist(), marker="o", label="its start", **style)
        panel.plot([0.0], [0.0], ls="", marker="+", ms=11, mew=2, color="black", label="rest")
        panel.set(title=title, xlabel=xlabel)
    axes[0, 0].set_ylabel(ylabel)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    return figure


def stability_triangle(
    points: Mapping[str, tuple[float | int, float | int]], *, steps: int = 30
) -> "matplotlib.figure.Figure":
    r"""What a step of the heavy ball leaves of the distance, and the ball's path at some points.

    On the left, over step size times curvature h and momentum β, the modulus of the larger root of
    z² − (1 + β − h) z + β: light is fast; outside the triangle the ball diverges. Below the dashed
    curve both roots are real. On the right the first steps from 1, starting at rest.

    Args:
        points: pairs (h, β) by label, at most six.
        steps: how many steps of each path.

    Example:
        >>> figure = stability_triangle({"oscillates": (0.5, 0.8)})
    """
    from matplotlib import pyplot

    figure, axes = pyplot.subplot_mosaic(
        [["plane", label] for label in points], figsize=(10, 5.2), width_ratios=(1.25, 1)
    )
    panel = axes["plane"]
    h, beta = torch.linspace(0.0, 4.2, 281).double(), torch.linspace(-1.1, 1.1, 221).double()
    half = (1 + beta.unsqueeze(-1) - h) / 2
    root = half**2 - beta.unsqueeze(-1)
    modulus = torch.where(
        root >= 0, half.abs() + root.clamp(min=0).sqrt(), beta.clamp(min=0).sqrt().unsqueeze(-1)
    )
    levels = [k / 10 for k in range(11)]
    grid = (h.tolist(), beta.tolist(), modulus.tolist())
    areas = panel.contourf(*grid, levels, cmap="cividis_r")
    figure.colorbar(areas, ax=panel, label="left of the distance, per step")
    panel.plot([0, 0, 4, 0], [-1, 1, 1, -1], color="black", lw=2.5, label="edge of stability")
    side = torch.linspace(-1.0, 1.0, 201).double()
    style: dict[str, Any] = {"color": "black", "ls": "--", "lw": 1.6}
    equal = (((1 + side) ** 2).tolist(), (side**2).tolist())
    panel.plot(*equal, label="equal roots; above, a complex pair", **style)
    for k, (label, (a, b)) in enumerate(points.items()):
        style = {"color": list(OKABE_ITO.values())[k + 1], "marker": MARKERS[k]}
        panel.plot([a], [b], ls="", mec="black", ms=11, **style)
        path = [1.0, 1.0]
        for _ in range(steps):
            path.append((1 + b - a) * path[-1] - b * path[-2])
        own = axes[label]
        own.axhline(0.0, color="black", lw=0.8)
        own.plot(range(steps + 1), path[1:], ls="-", lw=1.2, ms=4, mec="none", **style)
        own.set(title=label, ylim=(-1.6, 1.6), yticks=[-1, 0, 1])
        own.title.set_fontsize(12)
        if k < len(points) - 1:
            own.set_xticklabels([])
    own.set_xlabel("step")
    panel.set(xlabel="step size × curvature, ηλ", ylabel="momentum β")
    panel.set(xlim=(-0.1, 4.2), ylim=(-1.1, 1.1))
    panel.grid(visible=False)
    figure.legend(
        *panel.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    return figure


def landscape(
    loss: Callable[[Tensor], Tensor],
    window: float | int,
    marks: Mapping[str, Float[Tensor, "..."]],
    *,
    basins: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    resolution: int = 301,
    closeup: float | int | None = None,
) -> "matplotlib.figure.Figure":
    """Level lines of a loss of two inputs around the origin, points on it, and hatched basins.

    Colour steps and lines hold equal areas of the window; darker is lower. With basins the colours
    say which basin instead.

    Args:
        loss: maps `*batch 2` to `*batch`.
        window: how far both axes reach from 0.
        marks: points, `k 2`, by label; at most eight labels.
        basins: by label, which of the starts `n 2` belong to it, as `n` bools.
        resolution: grid points for each axis.
        closeup: how far the axes of a second panel reach, which shows the middle larger.

    Example:
        >>> origin = {"bottom": torch.zeros(1, 2)}
        >>> left = {"left": lambda x: x[:, 0] < 0}
        >>> figure = landscape(lambda x: x.square().sum(-1), 1.0, origin, basins=left)
    """
    from matplotlib import pyplot

    windows = [window] if closeup is None else [window, closeup]
    size = (7.4, 5.4) if closeup is None else (10.0, 5.4)
    figure, panels = pyplot.subplots(1, len(windows), figsize=size, squeeze=False)
    for panel, reach in zip(panels[0], windows, strict=True):
        keys = _draw_landscape(panel, loss, reach, marks, basins or {}, resolution)
        if reach == closeup:
            panel.set(title=f"the middle, {short_number(window / reach)} times larger", ylabel="")
    figure.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_landscape(
    panel: Any,
    loss: Callable[[Tensor], Tensor],
    window: float | int,
    marks: Mapping[str, Tensor],
    basins: Mapping[str, Callable[[Tensor], Tensor]],
    resolution: int,
) -> list[Any]:
    """Draws one window of a landscape; returns what its legend explains."""
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.patches import Patch

    side = torch.linspace(-window, window, resolution, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    shape, u = (resolution, resolution), side.tolist()
    heights = loss(grid)
    levels = stats.quantiles(heights, [k / 10 for k in range(11)]).unique().tolist()
    table = heights.reshape(shape).T.tolist()
    norm = BoundaryNorm(levels, 256)
    keys: list[Any] = []
    if not basins:
        areas = panel.contourf(u, u, table, levels, cmap="cividis", norm=norm)
        panel.figure.colorbar(areas, ax=panel, label="loss", format="%.1f")
    for k, (label, belongs) in enumerate(basins.items()):
        inside = belongs(grid).reshape(shape).T
        color = ListedColormap([PALE[k % len(PALE)]])
        hidden = torch.where(inside, 1.0, torch.nan).tolist()
        panel.pcolormesh(u, u, hidden, cmap=color, rasterized=True)
        hatch = HATCHES[k % len(HATCHES)]
        if hatch:
            area = panel.contourf(u, u, inside.double().tolist(), [0.5, 1.5], hatches=[hatch])
            area.set(facecolor="none", edgecolor=GREY, linewidth=0.0)
        keys.append(Patch(fc=PALE[k % len(PALE)], ec=GREY, hatch=hatch, label=label))
    style: dict[str, Any]
    style = {"colors": "black", "linestyles": "solid", "linewidths": 0.6, "alpha": 0.6}
    panel.contour(u, u, table, levels[:-1], **style)
    for k, (label, points) in enumerate(marks.items()):
        face = list(OKABE_ITO.values())[k] if k else "white"
        style = {"marker": MARKERS[k], "ms": 10 if len(points) < 6 else 5, "ls": "", "mfc": face}
        keys += panel.plot(*points.T.tolist(), mec="black", label=label, **style)
    panel.set(xlim=(-window, window), ylim=(-window, window), xlabel="x", ylabel="y")
    panel.set_aspect("equal")
    panel.grid(visible=False)
    return keys
