"""Figures of acquisition functions: rounding errors, where gradients vanish, climbs, beliefs.

Taught in part_4/tutorial_02.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import stats
from ..errors import ShapeError
from ..protocols import Acquisition, Surrogate
from ..shapes import check_bounds, check_count
from .style import OKABE_ITO, figure_and_axes, line_look

if TYPE_CHECKING:
    import matplotlib.figure


def error_panels(
    x: Float[Tensor, "n"], panels: Mapping[str, Mapping[str, Float[Tensor, "n"]]], *, xlabel: str
) -> "matplotlib.figure.Figure":
    """Relative errors against x on a logarithmic axis, a panel each with a line for each formula.

    Args:
        x: where the errors stand.
        panels: by title, the errors by label; below 1e-17 they are drawn there.
        xlabel: what x is.

    Raises:
        ShapeError: a line of another length than x.

    Example:
        >>> x = torch.linspace(0.0, 1.0, 5)
        >>> figure = error_panels(x, {"value": {"rounded": 1e-8 * x}}, xlabel="x")
    """
    from matplotlib import pyplot

    figure, row = pyplot.subplots(
        1, len(panels), figsize=(4.8 * len(panels), 3.9), sharey=True, squeeze=False
    )
    for panel, (title, lines) in zip(row[0], panels.items(), strict=True):
        for k, (label, error) in enumerate(lines.items()):
            if error.shape != x.shape:
                raise ShapeError(
                    f"{label}: expected {len(x)} values, got shape {tuple(error.shape)}"
                )
            every = max(1, len(x) // 8)
            style = line_look(k) | {"markevery": (k * every // len(lines), every)}
            panel.plot(x.tolist(), error.clamp(min=1e-17).tolist(), label=label, **style)
        panel.set(title=title, xlabel=xlabel, yscale="log")
    row[0, 0].set_ylabel("relative error")
    row[0, 0].legend()
    return figure


def shares(
    x: Float[Tensor, "n"],
    bands: Mapping[str, Float[Tensor, "runs n"]],
    *,
    xlabel: str,
    ylabel: str,
) -> "matplotlib.figure.Figure":
    """Shares of something in many runs: the median as a line, the quartiles as a band.

    Args:
        x: where the shares were taken.
        bands: by label, the share in each run.
        xlabel, ylabel: what the axes show.

    Raises:
        ShapeError: a band of another length than x.

    Example:
        >>> x = torch.tensor([1.0, 2.0])
        >>> figure = shares(x, {"lost": torch.rand(5, 2).double()}, xlabel="n", ylabel="share")
    """
    figure, panel = figure_and_axes(None)
    for k, (label, share) in enumerate(bands.items()):
        if share.ndim != 2 or share.shape[1] != len(x):
            raise ShapeError(
                f"{label}: expected runs x {len(x)} shares, got shape {tuple(share.shape)}"
            )
        low, middle, high = stats.quantiles(share.T, [0.25, 0.5, 0.75])
        style = line_look(k)
        panel.fill_between(x.tolist(), low.tolist(), high.tolist(), alpha=0.2, color=style["color"])
        panel.plot(x.tolist(), middle.tolist(), label=label, **style)
    panel.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, 1.02))
    panel.legend()
    return figure


def climb_maps(
    acq: Acquisition,
    bounds: Float[Tensor, "2 2"],
    climbs: Mapping[str, tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]]],
    *,
    flat: Mapping[str, Callable[[Tensor], Bool[Tensor, "k"]]],
    labels: tuple[str, str],
    resolution: int = 61,
) -> "matplotlib.figure.Figure":
    """Climbs over one acquisition, a panel for each way of climbing: starts, and where they end.

    Colour steps hold equal areas of the box; lighter is better.

    Args:
        acq: whose values are drawn, of two inputs.
        bounds: the box.
        climbs: by title, starts and ends.
        flat: by title, which of k places count as flat; they are hatched.
        labels: of the two inputs.
        resolution: grid points for each input.
    """
    from matplotlib import pyplot

    box = check_bounds(bounds)
    check_count("resolution", resolution, least=2)
    u, v = (torch.linspace(a, b, resolution, dtype=torch.float64) for a, b in box.T.tolist())
    grid = torch.cartesian_prod(u, v)
    with torch.no_grad():
        values = acq(grid.unsqueeze(-2))
    edges = stats.quantiles(values, torch.linspace(0, 1, 13).tolist()).unique().tolist()
    figure, row = pyplot.subplots(
        1, len(climbs), figsize=(4.9 * len(climbs), 4.5), sharey=True, squeeze=False
    )
    from matplotlib.colors import BoundaryNorm

    shape, norm = (resolution, resolution), BoundaryNorm(edges, 256)
    for panel, (title, (starts, ends)) in zip(row[0], climbs.items(), strict=True):
        table = values.reshape(shape).T.numpy()
        panel.contourf(u.numpy(), v.numpy(), table, edges, cmap="cividis", norm=norm)
        if title in flat:
            mask = flat[title](grid).double().reshape(shape).T.numpy()
            panel.contourf(u.numpy(), v.numpy(), mask, [0.5, 1.5], colors="none", hatches=["////"])
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            line = {"color": "black", "lw": 0.9, "ls": "-"}
            panel.plot([start[0], end[0]], [start[1], end[1]], **line)
        look: dict[str, Any] = {"ls": "", "mec": "black", "clip_on": False}
        panel.plot(*starts.T.tolist(), marker="s", ms=5, mfc="white", label="start", **look)
        vermillion = OKABE_ITO["vermillion"]
        panel.plot(*ends.T.tolist(), marker="o", ms=7, mfc=vermillion, label="end", **look)
        panel.set(title=title, xlabel=labels[0])
        panel.grid(visible=False)
    row[0, 0].set_ylabel(labels[1])
    figure.legend(*row[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def beliefs(
    models: Mapping[str, Surrogate],
    x: Float[Tensor, "k"],
    *,
    X: Float[Tensor, "n 1"],
    Y: Float[Tensor, "n 1"],
    truth: Float[Tensor, "k"],
    choices: Mapping[str, Float[Tensor, "q 1"]],
    xlabel: str,
    ylabel: str,
) -> "matplotlib.figure.Figure":
    """What several models of one input believe: mean ± 2 standard deviations, data, choices.

    Args:
        models: by title.
        x: where they are asked.
        X, Y: the data that all of them have.
        truth: values at x.
        choices: by title, the points chosen next, as vertical lines.
        xlabel, ylabel: what the axes show, with units.
    """
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        1, len(models), figsize=(3.3 * len(models), 3.4), sharex=True, sharey=True, squeeze=False
    )
    for panel, (title, model) in zip(grid[0], models.items(), strict=True):
        with torch.no_grad():
            posterior = model.posterior(x.reshape(-1, 1, 1))
        mean, sd = posterior.mean.flatten(), posterior.variance.flatten().clamp(min=0).sqrt()
        blue = OKABE_ITO["blue"]
        band = ((mean - 2 * sd).tolist(), (mean + 2 * sd).tolist())
        panel.fill_between(x.tolist(), *band, color=blue, alpha=0.2, lw=0, label="mean ± 2 sd")
        panel.plot(x.tolist(), mean.tolist(), color=blue, ls="-", lw=1.6)
        panel.plot(x.tolist(), truth.tolist(), color="black", ls="--", lw=1.3, label="truth")
        dots = {"ls": "", "marker": "o", "color": OKABE_ITO["vermillion"], "mec": "black"}
        panel.plot(X[:, 0].tolist(), Y[:, 0].tolist(), label="data", zorder=3, **dots)
        for k, place in enumerate(choices[title].flatten().tolist()):
            label = "" if k else "next two"
            panel.axvline(place, color=OKABE_ITO["purple"], ls=":", lw=2, label=label)
        panel.set(title=title, xlabel=xlabel)
    grid[0, 0].set_ylabel(ylabel)
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4)
    return figure
