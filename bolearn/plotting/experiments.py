"""Figures of what optimisers leave behind: clouds, shares, tables, line searches, batches.

Taught in part_2.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ShapeError
from .style import GREY, HATCHES, OKABE_ITO, ink_on, line_look

if TYPE_CHECKING:
    import matplotlib.figure


def clouds(
    panels: Mapping[str, tuple[Float[Tensor, "n 2"], Float[Tensor, "2 2"]]],
) -> "matplotlib.figure.Figure":
    """Points in the plane, each cloud with the ellipse of two standard deviations of a theory.

    Args:
        panels: by title, the points and the covariance that a theory gives them, around 0.

    Example:
        >>> figure = clouds({"round": (torch.randn(50, 2), torch.eye(2))})
    """
    from matplotlib import pyplot

    size = (4.6 * len(panels), 4.6)
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    angle = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    for panel, (title, (points, covariance)) in zip(axes[0], panels.items(), strict=True):
        panel.plot(*points.T.tolist(), ls="", marker=".", ms=3, color=GREY, label="particles")
        edge = 2 * circle @ torch.linalg.cholesky(covariance.double()).mT
        style: dict[str, Any] = {"color": OKABE_ITO["vermillion"], "ls": "-", "lw": 2.5}
        panel.plot(*edge.T.tolist(), label="2 s.d., theory", **style)
        panel.set(title=title, xlabel="x₁", aspect="equal")
    axes[0, 0].set_ylabel("x₂")
    axes[0, -1].legend(loc="lower left")
    return figure


def share_bars(
    places: Sequence[str], shares: Mapping[str, Float[Tensor, "n"]], *, ylabel: str
) -> "matplotlib.figure.Figure":
    """Groups of bars, one group a place, with their heights written on them as percentages.

    Args:
        places: what stands below the groups.
        shares: by label, a share of 1 for each place.
        ylabel: what the shares are of.

    Raises:
        ShapeError: not one share for each place.

    Example:
        >>> bars = {"here": torch.tensor([0.25, 0.75])}
        >>> figure = share_bars(["left", "right"], bars, ylabel="share of the runs")
    """
    from matplotlib import pyplot

    figure, panel = pyplot.subplots()
    width = 0.8 / len(shares)
    for k, (label, values) in enumerate(shares.items()):
        if values.shape != (len(places),):
            raise ShapeError(
                f"{label}: expected {len(places)} shares, got shape {tuple(values.shape)}"
            )
        x = [j + width * (k - (len(shares) - 1) / 2) for j in range(len(places))]
        color = list(OKABE_ITO.values())[(k + 1) % len(OKABE_ITO)]
        style: dict[str, Any] = {"hatch": HATCHES[k % len(HATCHES)], "edgecolor": "black"}
        bars = panel.bar(x, values.tolist(), 0.95 * width, label=label, color=color, **style)
        panel.bar_label(bars, [f"{value:.0%}" for value in values.tolist()])
    panel.set_xticks(range(len(places)), places)
    panel.set(ylabel=ylabel, ylim=(0, 1.15 * max(float(v.max()) for v in shares.values())))
    panel.legend()
    return figure


def value_table(
    table: Float[Tensor, "rows columns"],
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    xlabel: str,
    ylabel: str,
    label: str,
) -> "matplotlib.figure.Figure":
    """A table of numbers in colours, each number written into its cell; the first row is lowest.

    Args:
        table: the numbers.
        rows, columns: what stands beside the rows and below the columns.
        xlabel, ylabel, label: what columns, rows and numbers are.

    Raises:
        ShapeError: not one name for each row and column.

    Example:
        >>> labels = {"xlabel": "x", "ylabel": "n", "label": "value"}
        >>> figure = value_table(torch.eye(2), [10, 20], ["a", "b"], **labels)
    """
    from matplotlib import pyplot

    if table.shape != (len(rows), len(columns)):
        raise ShapeError(
            f"table: expected shape ({len(rows)}, {len(columns)}), got {tuple(table.shape)}"
        )
    figure, panel = pyplot.subplots(figsize=(7.5, 4.6))
    image = panel.imshow(table.tolist(), cmap="cividis", aspect="auto", origin="lower")
    low, high = float(table.min()), float(table.max())
    for i, row in enumerate(table.tolist()):
        for j, value in enumerate(row):
            ink = ink_on((value - low) / (high - low or 1.0))
            panel.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=13, color=ink)
    panel.set_xticks(range(len(columns)), [str(name) for name in columns])
    panel.set_yticks(range(len(rows)), [str(name) for name in rows])
    panel.set(xlabel=xlabel, ylabel=ylabel)
    panel.grid(visible=False)
    figure.colorbar(image, label=label)
    return figure


def cycle_basins(
    side: Float[Tensor, "n"],
    caught: Bool[Tensor, "n n"],
    cycle: Float[Tensor, "k 2"],
    races: Mapping[str, Float[Tensor, "t"]],
) -> "matplotlib.figure.Figure":
    """Left, which pairs (x before, x now) end in a cycle; right, distances from the minimum 0.

    Args:
        side: the grid of both axes.
        caught: whether a pair never arrives; rows are x now, columns x before.
        cycle: the pairs (x before, x now) of the cycle.
        races: distances after each step, by label.

    Example:
        >>> side = torch.linspace(-1.0, 1.0, 5)
        >>> caught = side.abs().expand(5, 5) > 0.4
        >>> figure = cycle_basins(side, caught, torch.ones(1, 2), {"ball": side.abs()})
    """
    from matplotlib import pyplot

    figure, (plane, race) = pyplot.subplots(1, 2, figsize=(10, 4.8))
    u, end = side.tolist(), float(side.max())
    colors = ["white", OKABE_ITO["sky"]]
    area = caught.double().tolist()
    plane.contourf(u, u, area, [-0.5, 0.5, 1.5], colors=colors, hatches=["", "///"])
    plane.plot([-end, end], [-end, end], color="black", ls="--", lw=1.5, label="starts at rest")
    style: dict[str, Any] = {"ls": "", "mec": "black", "color": OKABE_ITO["vermillion"]}
    plane.plot(*cycle.T.tolist(), marker="o", ms=9, label="the cycle", **style)
    plane.plot([0], [0], ls="", marker="*", ms=13, color="black", label="the minimum")
    plane.set(xlabel="x before the start", ylabel="x at the start", title="hatched: never arrives")
    plane.grid(visible=False)
    anchor = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15), "ncols": 3, "fontsize": 10}
    plane.legend(columnspacing=1.0, handletextpad=0.3, frameon=False, **anchor)
    for k, (label, distance) in enumerate(races.items()):
        every = (k, max(1, len(distance) // 12))
        race.plot(distance.tolist(), label=label, markevery=every, **line_look(k))
    race.set(yscale="log", xlabel="step", ylabel="distance from the minimum")
    race.legend()
    return figure


def line_search(
    eta: Float[Tensor, "n"],
    loss: Float[Tensor, "n"],
    ceiling: Float[Tensor, "n"],
    too_long: Bool[Tensor, "n"],
    too_short: Bool[Tensor, "n"],
) -> "matplotlib.figure.Figure":
    """The loss along one direction, and below it which lengths each of two conditions refuses.

    Args:
        eta: the lengths.
        loss: the loss there.
        ceiling: the highest loss that the first condition (Armijo's) allows.
        too_long, too_short: where Armijo's and Wolfe's conditions refuse.

    Example:
        >>> eta = torch.linspace(0.0, 2.0, 50)
        >>> parts = ((1 - eta) ** 2, 1 - eta / 100, eta > 1.9, eta < 0.1)
        >>> figure = line_search(eta, *parts)
    """
    from matplotlib import pyplot

    figure, (panel, strips) = pyplot.subplots(
        2, 1, figsize=(7.0, 5.0), sharex=True, height_ratios=(3.2, 1)
    )
    x, first = eta.tolist(), float(loss[0])
    panel.plot(x, loss.tolist(), color=OKABE_ITO["blue"], label="the loss along the line")
    style: dict[str, Any] = {"color": OKABE_ITO["vermillion"], "ls": "--", "lw": 1.6}
    panel.plot(x, ceiling.tolist(), label="highest loss that Armijo allows", **style)
    panel.set(ylabel="loss", ylim=(0, 2.2 * first))
    panel.legend(loc="upper center")
    rows = {
        "allowed": (~too_long & ~too_short, OKABE_ITO["green"], ""),
        "too short (Wolfe)": (too_short, OKABE_ITO["sky"], "..."),
        "too long (Armijo)": (too_long, OKABE_ITO["orange"], "///"),
    }
    for k, (refused, color, hatch) in enumerate(rows.values()):
        fill: dict[str, Any] = {"fc": color, "ec": "black", "hatch": hatch, "lw": 0.5}
        strips.fill_between(x, k + 0.1, k + 0.9, where=refused.tolist(), step="mid", **fill)
    strips.set_yticks([0.5, 1.5, 2.5], list(rows))
    strips.set(xlabel="length η of the step", ylim=(0, 3))
    strips.grid(visible=False)
    return figure


def batch_raster(
    table: Float[Tensor, "rows calls"], *, xlabel: str, ylabel: str, label: str
) -> "matplotlib.figure.Figure":
    """What each row of a batch was asked at each call, in colours; white where it was not asked.

    Example:
        >>> table = torch.tensor([[1.0, 0.5, torch.nan], [1.0, 0.9, 0.2]])
        >>> figure = batch_raster(table, xlabel="call", ylabel="row", label="loss")
    """
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(7.5, 4.8))
    style: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "cmap": "cividis"}
    image = panel.imshow(table.tolist(), **style)
    panel.set(xlabel=xlabel, ylabel=ylabel)
    panel.grid(visible=False)
    figure.colorbar(image, label=label)
    return figure
