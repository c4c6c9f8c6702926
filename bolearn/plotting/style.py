"""One style for all figures: colours, line styles, markers, and what the themes share.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers, and no line depends
on its colour alone: line styles and markers say the same.

Source:
    Okabe & Ito, "Color universal design" (2008), https://jfly.uni-koeln.de/color/.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


OKABE_ITO = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "yellow": "#F0E442",
}
"""The colours in the order in which lines use them; yellow last, it is faint on white."""


LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)))


MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


GREY = "#6E6E6E"


HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")


PALE = ("#FFFFFF", "#F5D9A0", "#BFE0F3", "#E8C4DA", "#BFE3D8", "#D9D9D9")


def use_style() -> None:
    """Switch matplotlib to the style of the course: colours, line styles, readable fonts, size.

    Example:
        >>> use_style()
    """
    import matplotlib.style
    from cycler import cycler

    matplotlib.style.use(
        {
            "axes.prop_cycle": cycler(color=list(OKABE_ITO.values()))
            + cycler(linestyle=LINE_STYLES),
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.labelsize": 13,
            "axes.titlesize": 13,
            "figure.autolayout": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "figure.figsize": (7.0, 4.2),
            "font.size": 12,
            "grid.alpha": 0.35,
            "grid.color": "#B0B0B0",
            "image.cmap": "cividis",
            "legend.fontsize": 12,
            "legend.framealpha": 0.9,
            "lines.linewidth": 2.0,
            "lines.markersize": 6.5,
            "savefig.dpi": 110,
        }
    )


def figure_and_axes(ax: "matplotlib.axes.Axes | None") -> "tuple[matplotlib.figure.Figure, Any]":
    """The figure and the axes to draw on; new ones by default."""
    from matplotlib import pyplot

    if ax is not None:
        return cast("matplotlib.figure.Figure", ax.figure), ax

    return pyplot.subplots()


def line_look(k: int) -> dict[str, Any]:
    """Colour, line style and marker of line k: the same strategy looks the same in all figures."""
    colors = list(OKABE_ITO.values())
    return {
        "color": colors[k % len(colors)],
        "ls": LINE_STYLES[k % len(LINE_STYLES)],
        "marker": MARKERS[k % len(MARKERS)],
    }


def ink_on(shade: float) -> str:
    """The text colour that is readable on this shade of cividis (0 dark, 1 light)."""
    return "white" if shade < 0.5 else "black"


def short_number(value: float) -> str:
    """100 as 100, 0.0001 as 1e-4.

    Example:
        >>> short_number(1e-4), short_number(200)
        ('1e-4', '200')
    """
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 1e-2 else f"{value:g}"


def log_floor(curves: Sequence[Tensor]) -> float:
    """The lower end of a logarithmic axis: below the smallest positive number, at most a decade."""
    values = torch.cat([curve.flatten() for curve in curves])
    positive = values[(values > 0) & values.isfinite()]
    return float(positive.min() / 3) if len(positive) else 1e-12
