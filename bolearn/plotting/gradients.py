"""Figures of derivatives: values with their slopes, the arm and its VJP, tables, costs.

Taught in part_1/tutorial_05.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from .style import GREY, HATCHES, OKABE_ITO

if TYPE_CHECKING:
    import matplotlib.figure


def values_and_slopes(
    x: Float[Tensor, "n"],
    functions: Mapping[str, tuple[Float[Tensor, "n"], Float[Tensor, "n"]]],
) -> "matplotlib.figure.Figure":
    """A panel for each function: its values, its slopes, and where a slope is NaN.

    Args:
        x: where the values stand, in ascending order.
        functions: values and slopes by title.

    Example:
        >>> x = torch.linspace(-1.0, 1.0, 5)
        >>> figure = values_and_slopes(x, {"square": (x**2, 2 * x)})
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(functions), sharey=True, figsize=(9, 3.8), squeeze=False
    )
    at = x.tolist()
    for panel, (title, (value, slope)) in zip(panels[0], functions.items(), strict=True):
        panel.plot(at, value.tolist(), color=OKABE_ITO["blue"], ls="--", label="value")
        dots = {"color": OKABE_ITO["vermillion"], "marker": ".", "ls": "", "label": "slope"}
        panel.plot(at, slope.tolist(), **dots)
        if (missing := x[slope.isnan()]).numel():
            shade = {"facecolor": "white", "hatch": "//", "edgecolor": GREY}
            ends = float(missing.min()), float(missing.max())
            panel.axvspan(*ends, label="slope is NaN", **shade)
        panel.set(title=title, xlabel="x", xlim=(at[0], at[-1]))
        panel.legend(loc="upper right")
    panels[0, 0].set_ylabel("value and slope")
    return figure


def arm_and_vjp(
    arms: Mapping[str, Float[Tensor, "joints 2"]],
    images: Mapping[str, Float[Tensor, "image 2"]],
    directions: Float[Tensor, "angles 2"],
    marked: Mapping[str, int],
) -> "matplotlib.figure.Figure":
    """Above, an arm with directions v at its hand; below, what Jᵀ v they give.

    Args:
        arms: the joints from the shoulder to the hand (m), by title.
        images: Jᵀ v for every direction, under the same titles.
        directions: the vectors v of length 1, once round the circle.
        marked: rows of `directions` that are drawn as arrows, by label.

    Raises:
        ShapeError: an image of another number of directions.
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, len(arms), figsize=(9.5, 6.4), squeeze=False)
    looks = [(OKABE_ITO["vermillion"], "s"), (OKABE_ITO["blue"], "^"), (OKABE_ITO["green"], "D")]
    for (title, joints), (top, bottom) in zip(arms.items(), panels.T, strict=True):
        image, tip = images[title], joints[-1]
        if image.shape != directions.shape:
            raise ShapeError(
                f"{title}: expected {tuple(directions.shape)}, got {tuple(image.shape)}"
            )
        top.plot(*joints.T.tolist(), color="black", ls="-", marker="o", lw=4)
        top.plot(*(tip + 0.5 * directions).T.tolist(), color=GREY, ls=":", marker="")
        bottom.plot(*image.T.tolist(), color=GREY, ls=":", marker="")
        for (label, k), (color, marker) in zip(marked.items(), looks, strict=False):
            end = tip + 0.5 * directions[k]
            top.plot(*torch.stack([tip, end]).T.tolist(), color=color, ls="-", marker="")
            top.plot(*end.tolist(), color=color, marker=marker, ms=11)
            bottom.plot(*image[k].tolist(), color=color, marker=marker, ms=11, ls="", label=label)
        reach = {"xlim": (-0.3, 2.4), "ylim": (-1, 1.4), "aspect": "equal"}
        top.set(title=title, xlabel="x (m)", **reach)
        bottom.set(xlim=(-2.1, 2.1), ylim=(-1.2, 1.2), xlabel="Jᵀ v: shoulder (m per rad)")
    panels[0, 0].set_ylabel("y (m)")
    panels[1, 0].set_ylabel("Jᵀ v: elbow (m per rad)")
    panels[1, -1].legend(loc="lower right", fontsize=11)
    return figure


def jacobian_tables(tables: Mapping[str, Float[Tensor, "m n"]]) -> "matplotlib.figure.Figure":
    """The sizes of the entries of Jacobians as colours; entries that are zero say so.

    Example:
        >>> figure = jacobian_tables({"identity": torch.eye(3)})
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(tables), figsize=(4.5 * len(tables), 3.8), squeeze=False
    )
    for panel, (title, table) in zip(panels[0], tables.items(), strict=True):
        image = panel.imshow(table.abs().tolist(), vmin=0, cmap="cividis")
        figure.colorbar(image, ax=panel, shrink=0.8, label="size of the derivative")
        panel.set(title=title, xlabel="input", ylabel="output")
        panel.set_xticks(range(table.shape[1]))
        panel.set_yticks(range(table.shape[0]))
        panel.grid(visible=False)
        for output, entry in (table == 0).nonzero().tolist():
            panel.text(entry, output, "0", color="white", ha="center", va="center")
    return figure


def grouped_bars(
    groups: Sequence[str],
    bars: Mapping[str, Sequence[float | int | None]],
    *,
    ylabel: str,
) -> "matplotlib.figure.Figure":
    """Bars side by side for each group, on a logarithmic axis; None leaves a place empty.

    Raises:
        ShapeError: another number of bars than of groups.

    Example:
        >>> figure = grouped_bars(["a", "b"], {"one": [1, 10], "two": [None, 5]}, ylabel="cost")
    """
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(9, 4.2))
    width = 0.8 / len(bars)
    colors = [OKABE_ITO[name] for name in ("blue", "orange", "green", "purple", "sky")]
    for k, (label, heights) in enumerate(bars.items()):
        if len(heights) != len(groups):
            raise ShapeError(f"{label}: expected {len(groups)} bars, got {len(heights)}")
        shown = [(i + width * (k - (len(bars) - 1) / 2), h) for i, h in enumerate(heights) if h]
        hatch = HATCHES[(k + 1) % len(HATCHES)]
        look: dict[str, Any] = {"color": colors[k], "hatch": hatch, "edgecolor": "black"}
        places, tops = [place for place, _ in shown], [top for _, top in shown]
        panel.bar(places, tops, 0.93 * width, label=label, **look)
    panel.set_xticks(range(len(groups)), groups)
    panel.set(yscale="log", ylabel=ylabel)
    panel.margins(y=0.25)
    panel.legend(ncols=len(bars), loc="upper center")
    return figure
