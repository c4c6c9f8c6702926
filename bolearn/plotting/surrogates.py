"""Figures on what a surrogate promises: two bands, reliability, residuals, scores of many splits.

Taught in part_4/tutorial_01.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import stats
from ..diagnostics import calibration
from ..errors import ShapeError
from ..models.exact import ExactGP
from .style import GREY, OKABE_ITO, figure_and_axes, line_look

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


def two_bands(
    model: ExactGP,
    truth: Callable[[Tensor], Tensor] | None = None,
    *,
    xlabel: str,
    ylabel: str,
) -> "matplotlib.figure.Figure":
    """The 95 % band of f and the wider one of a new observation, over one input.

    Args:
        model: with d = 1, one output and no replicate axis.
        truth: f itself, ``n 1`` to ``n 1``; drawn if given.
        xlabel, ylabel: what the axes show, with units.

    Raises:
        ShapeError: a model of more inputs or outputs, or with replicates.
    """
    if model.X.shape[-1] != 1 or model.num_outputs != 1 or len(model.batch_shape):
        raise ShapeError(
            f"two_bands: expected a model with X: n 1 and Y: n 1, got X {tuple(model.X.shape)} "
            f"and Y {tuple(model.Y.shape)}"
        )
    low, high = model.bounds[:, 0].tolist()
    grid = torch.linspace(low, high, 201, dtype=torch.float64).unsqueeze(-1)
    with torch.no_grad():
        belief = model.posterior(grid)
        mean, sd = belief.mean[:, 0], belief.variance[:, 0].sqrt()
        wide = model.posterior(grid, observation_noise=True).variance[:, 0].sqrt()
    figure, panel = figure_and_axes(None)
    x = grid[:, 0].tolist()
    bands = (
        (wide, OKABE_ITO["orange"], "", "the next reading"),
        (sd, OKABE_ITO["blue"], "///", "f"),
    )
    for half, color, hatch, label in bands:
        ends = ((mean - 1.96 * half).tolist(), (mean + 1.96 * half).tolist())
        style = {"color": color, "alpha": 0.35, "lw": 0, "hatch": hatch}
        panel.fill_between(x, *ends, label=f"95 % band of {label}", **style)
    panel.plot(x, mean.tolist(), color=OKABE_ITO["blue"], ls="-", label="mean")
    if truth is not None:
        panel.plot(x, truth(grid)[:, 0].tolist(), color="black", ls="--", lw=1.5, label="f")
    dots = {"ls": "", "marker": "o", "color": OKABE_ITO["vermillion"], "mec": "black", "zorder": 3}
    panel.plot(model.X[:, 0].tolist(), model.Y[:, 0].tolist(), label="data", **dots)
    panel.set(xlabel=xlabel, ylabel=ylabel)
    panel.legend(loc="upper right", fontsize=10)
    return figure


def reliability(
    z: Mapping[str, Float[Tensor, "r n"]],
    *,
    title: str = "",
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.figure.Figure":
    """Share of values within central intervals against the share promised, over many splits.

    The line is the median of the splits, its band their quartiles. Below the diagonal a model is
    too sure, above it too cautious.

    Args:
        z: by label, standardised residuals of each split; NaN counts as missing.
        title: of the panel.
        ax: where to draw; a new figure without it.

    Example:
        >>> z = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).double()
        >>> figure = reliability({"right": z, "too sure": 3 * z})
    """
    figure, panel = figure_and_axes(ax)
    panel.plot([0, 1], [0, 1], color="black", ls="--", lw=1.5, label="as promised")
    for k, (label, values) in enumerate(z.items()):
        found = calibration(values.unsqueeze(-1))
        low, middle, high = stats.quantiles(found.coverage[:, 0].T, [0.25, 0.5, 0.75])
        x, look = found.levels.tolist(), line_look(k)
        panel.fill_between(x, low.tolist(), high.tolist(), color=look["color"], alpha=0.2, lw=0)
        panel.plot(x, middle.tolist(), label=label, markevery=(k, 3), **look)
    panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the interval")
    panel.set_ylabel("share of values inside")
    panel.set_title(title)
    panel.legend(loc="upper left", fontsize=11)
    return figure


def residual_histograms(
    z: Mapping[str, Float[Tensor, "..."]], *, ax: "matplotlib.axes.Axes | None" = None
) -> "matplotlib.figure.Figure":
    """Densities of standardised residuals, beside that of the standard normal.

    Args:
        z: by label, the residuals; values beyond 6 are counted at the ends.
        ax: where to draw; a new figure without it.

    Example:
        >>> z = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()
        >>> figure = residual_histograms({"right": z})
    """
    figure, panel = figure_and_axes(ax)
    grid = torch.linspace(-6, 6, 201, dtype=torch.float64)
    normal = torch.exp(-0.5 * grid.square()) / math.sqrt(2 * math.pi)
    panel.plot(grid.tolist(), normal.tolist(), color="black", ls="--", lw=1.5, label="N(0, 1)")
    for k, (label, values) in enumerate(z.items()):
        inside = values.flatten().clamp(-6, 6).tolist()
        look = {key: line_look(k)[key] for key in ("color", "ls")}
        panel.hist(inside, bins=36, density=True, histtype="step", lw=2, label=label, **look)
    panel.set(xlabel="z = (observed − predicted) / deviation", ylabel="density", xlim=(-6.2, 6.2))
    panel.legend(loc="upper left", fontsize=11)
    return figure


def score_strips(
    scores: Mapping[str, Float[Tensor, "r"]], *, xlabel: str, baseline: str
) -> "matplotlib.figure.Figure":
    """One row of dots for each arm, a dot for each split, and the mean as a bar.

    Args:
        scores: by label, one number for each split.
        xlabel: what the numbers are.
        baseline: the arm whose mean is drawn as a line through all rows.

    Example:
        >>> one = torch.tensor([1.0, 2.0])
        >>> figure = score_strips({"a": one, "b": one + 1}, xlabel="score", baseline="a")
    """
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(7.6, 0.62 * len(scores) + 1.3))
    panel.axvline(float(scores[baseline].mean()), color=GREY, ls="--", lw=1.5)
    for k, values in enumerate(scores.values()):
        look = line_look(k) | {"ls": "", "ms": 6, "mec": "black", "mew": 0.5, "alpha": 0.8}
        shift = torch.linspace(-0.22, 0.22, len(values)) + k
        panel.plot(values.tolist(), shift.tolist(), **look)
        panel.plot([float(values.mean())] * 2, [k - 0.36, k + 0.36], color="black", ls="-", lw=2.5)
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
        panel.annotate(f"{float(values.mean()):.2f}", (1.01, k), **place)
    panel.set_yticks(range(len(scores)), list(scores))
    panel.invert_yaxis()
    panel.set_xlabel(xlabel)
    panel.grid(visible=False, axis="y")
    return figure
