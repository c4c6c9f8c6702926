"""Figures of models: a belief over one input, contours of two, the report on a fit.

Taught in part_3/tutorial_03 and part_3/tutorial_05.
"""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import diagnostics, stats
from ..errors import DataError, ShapeError
from ..models.exact import ExactGP, check_exact
from ..problems import Problem
from ..protocols import Acquisition
from ..shapes import check_count, check_points, is_whole
from .style import OKABE_ITO, figure_and_axes, line_look

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


def contour(
    problem: Problem,
    ax: "matplotlib.axes.Axes | None" = None,
    X: Float[Tensor, "n 2"] | None = None,
    *,
    n_init: int = 0,
    resolution: int = 101,
    levels: int = 14,
) -> "matplotlib.figure.Figure":
    """Map of a problem with two inputs, its optima, and points evaluated on it.

    Colour steps hold equal areas of the box, so that the top stays visible on a function with deep
    valleys; lighter is better.

    Args:
        problem: with d = 2.
        ax: where to draw; default: a new figure.
        X: evaluated points, drawn in their order: the first `n_init` as squares, later ones as
            circles.
        n_init: how many of them are the initial design.
        resolution: grid points for each input.
        levels: colour steps.

    Raises:
        DataError: a problem with another number of inputs.
    """
    if problem.d != 2:
        raise DataError(f"contour: expected a problem with d = 2, got d = {problem.d}")
    check_count("resolution", resolution, least=2)
    u, v = (
        torch.linspace(lower, upper, resolution, dtype=torch.float64)
        for lower, upper in problem.bounds.T.tolist()
    )
    grid = torch.cartesian_prod(u, v)
    z = problem.noiseless(grid)[:, 0]
    fractions = torch.linspace(0.0, 1.0, levels + 1, dtype=torch.float64).tolist()
    edges = stats.quantiles(z, fractions).unique().tolist()
    figure, panel = figure_and_axes(ax)
    values = z.reshape(resolution, resolution).T.numpy()
    from matplotlib.colors import BoundaryNorm

    if len(edges) > 2:
        norm = BoundaryNorm(edges, 256)
        areas = panel.contourf(u.numpy(), v.numpy(), values, edges, cmap="cividis", norm=norm)
        bar = figure.colorbar(areas, ax=panel, label=problem.output, format="%.3g")
        bar.set_ticks(edges[:: max(1, len(edges) // 7)])
    if problem.optimal_points is not None:
        star = {"ls": "", "marker": "*", "ms": 15, "mec": "black", "color": OKABE_ITO["vermillion"]}
        panel.plot(*problem.optimal_points.T.tolist(), label="optimum", **star)
    if X is not None:
        check_points(X, 2)
        parts = ((X[:n_init], "s", "initial design"), (X[n_init:], "o", "evaluated"))
        for points, marker, label in parts:
            if len(points):
                style = {
                    "ls": "",
                    "marker": marker,
                    "mfc": "white",
                    "mec": "black",
                    "clip_on": False,
                }
                panel.plot(*points.T.tolist(), label=label, **style)
    panel.grid(visible=False)
    panel.set_xlabel(problem.inputs[0])
    panel.set_ylabel(problem.inputs[1])
    panel.set_title(problem.name)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
    return figure


def posterior_1d(
    model: ExactGP,
    *,
    problem: Problem | None = None,
    acquisition: Acquisition | None = None,
    x_next: Float[Tensor, "q 1"] | None = None,
    resolution: int = 201,
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.figure.Figure":
    """A model of a function of one input: mean, central 95 % band, data, and where to go next.

    Args:
        model: fitted, with d = 1, one output and no replicate axis.
        problem: draws the truth as well, and names the axes.
        acquisition: drawn in a second panel; only in a new figure.
        x_next: the next point, marked by a vertical line.
        resolution: points of the grid.
        ax: where to draw; default: a new figure.

    Raises:
        ShapeError: a model of more inputs or outputs, or with replicates.
    """
    if model.X.shape[-1] != 1 or model.num_outputs != 1 or len(model.batch_shape):
        raise ShapeError(
            "posterior_1d: expected a model with X: n 1 and Y: n 1, got "
            f"X {tuple(model.X.shape)} and Y {tuple(model.Y.shape)}"
        )
    low, high = model.bounds[:, 0].tolist()
    grid = torch.linspace(low, high, resolution, dtype=torch.float64).reshape(-1, 1, 1)
    with torch.no_grad():
        posterior = model.posterior(grid.to(model.X.device))
        mean = posterior.mean.flatten().cpu()
        std = posterior.variance.flatten().clamp(min=0.0).sqrt().cpu()
    lower_panel: Any = None
    if acquisition is not None and ax is None:
        from matplotlib import pyplot

        figure, (panel, lower_panel) = pyplot.subplots(
            2, 1, sharex=True, height_ratios=(2.2, 1), figsize=(7.0, 5.2)
        )
    else:
        figure, panel = figure_and_axes(ax)
    x = grid.flatten().tolist()
    blue = OKABE_ITO["blue"]
    band = ((mean - 1.96 * std).tolist(), (mean + 1.96 * std).tolist())
    panel.fill_between(x, *band, color=blue, alpha=0.2, lw=0, label="95 % band")
    panel.plot(x, mean.tolist(), color=blue, ls="-", label="posterior mean")
    if problem is not None:
        truth = problem.noiseless(grid.reshape(-1, 1))[:, 0].tolist()
        panel.plot(x, truth, color="black", ls="--", lw=1.5, label=problem.name)
    seen = model.observed
    panel.plot(
        model.X[seen][:, 0].tolist(),
        model.Y[seen][:, 0].tolist(),
        ls="",
        marker="o",
        color=OKABE_ITO["vermillion"],
        mec="black",
        label="data",
        zorder=3,
    )
    panel.set_ylabel("value" if problem is None else problem.output)
    bottom = panel
    if lower_panel is not None and acquisition is not None:
        bottom = lower_panel
        with torch.no_grad():
            value = acquisition(grid.to(model.X.device)).cpu().tolist()
        bottom.plot(x, value, color=OKABE_ITO["green"], ls="-")
        # log acquisitions dive at the data; show the part in which the maximum is decided
        high_value, usual = stats.quantiles(torch.tensor(value).double(), [1.0, 0.25]).tolist()
        if min(value) < usual - (high_value - usual):
            margin = 0.1 * (high_value - usual)
            bottom.set_ylim(usual - (high_value - usual), high_value + margin)
        bottom.set_ylabel("acquisition")
    if x_next is not None:
        for k, position in enumerate(x_next.flatten().tolist()):
            style = {"color": OKABE_ITO["purple"], "ls": ":"}
            panel.axvline(position, label="" if k else "next point", **style)
            if lower_panel is not None:
                lower_panel.axvline(position, **style)
    bottom.set_xlabel("x" if problem is None else problem.inputs[0])
    panel.set_xlim(low, high)
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return figure


def model_report(
    model: ExactGP, output: int = 0, replicate: int | tuple[int, ...] = ()
) -> "matplotlib.figure.Figure":
    """One page about a fitted model: is it right, is it as sure as it should be, what matters.

    Four panels, all from leave-one-out predictions but the last: observed against predicted values
    with 95 % intervals; standardised residuals against normal quantiles; the share of values within
    central intervals against the share promised; lengthscales in widths of the box, where short
    means that the output changes quickly along that input.

    Args:
        model: the Gaussian process.
        output: which output.
        replicate: which replicate of a replicated model, an index for each replicate axis.

    Raises:
        DataError: an output or a replicate that the model does not have.
        UnsupportedError: a model that is no `ExactGP`.

    Example:
        >>> X = torch.linspace(0, 1, 6, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> figure = model_report(ExactGP(X, (5 * X).sin(), box))
    """
    from matplotlib import pyplot

    check_exact(model, "model_report")
    where = tuple(replicate) if isinstance(replicate, tuple | list) else (replicate,)
    sizes = (*model.batch_shape, model.num_outputs)
    chosen = zip((*where, output), sizes, strict=False)
    inside = (is_whole(i) and 0 <= i < size for i, size in chosen)
    if len(where) != len(sizes) - 1 or not all(inside):
        raise DataError(
            f"model_report: expected an index for each replicate axis {tuple(model.batch_shape)} "
            f"and an output below {model.num_outputs}, got replicate={replicate}, output={output}"
        )
    loo = diagnostics.leave_one_out(model)
    seen = model.observed[where]
    y, mean, variance, z = (
        v[where][seen][:, output].detach() for v in (model.Y, loo.mean, loo.variance, loo.z)
    )
    figure, axes = pyplot.subplots(2, 2, figsize=(9.0, 7.6))
    _draw_predictions(axes[0, 0], y, mean, variance)
    _draw_residuals(axes[0, 1], z)
    _draw_calibration(axes[1, 0], z)
    _draw_lengthscales(axes[1, 1], model, (*where, output))
    density = diagnostics.negative_log_predictive_density(y, mean, variance).mean().item()
    score = diagnostics.crps(y, mean, variance).mean().item()
    figure.suptitle(
        f"{len(y)} observations left out one by one: negative log density {density:.3g}, "
        f"CRPS {score:.3g}",
        size=13,
    )
    return figure


def _draw_predictions(panel: "matplotlib.axes.Axes", y: Tensor, mean: Tensor, var: Tensor) -> None:
    """Observed against predicted values, with 95 % intervals of a new observation."""
    half = (1.96 * var.sqrt()).tolist()
    style = {"fmt": "o", "color": OKABE_ITO["blue"], "ecolor": OKABE_ITO["sky"], "ms": 5, "lw": 1.5}
    panel.errorbar(mean.tolist(), y.tolist(), xerr=half, label="left out, 95 %", **style)  # type: ignore[arg-type]
    ends = [torch.cat([y, mean]).min().item(), torch.cat([y, mean]).max().item()]
    panel.plot(ends, ends, color="black", ls="--", lw=1.5, label="equal")
    panel.set(xlabel="predicted from the others", ylabel="observed", title="Predictions")
    panel.legend(loc="upper left")


def _draw_residuals(panel: "matplotlib.axes.Axes", z: Tensor) -> None:
    """Sorted standardised residuals against the quantiles of a standard normal."""
    n = len(z)
    share = (torch.arange(n, dtype=torch.float64, device=z.device) + 0.5) / n
    normal = torch.special.ndtri(share)
    style = {"ls": "", "marker": "o", "ms": 5, "color": OKABE_ITO["blue"]}
    panel.plot(normal.tolist(), z.sort().values.tolist(), label="residuals", **style)  # type: ignore[arg-type]
    end = max(2.0, normal.abs().max().item())
    panel.plot([-end, end], [-end, end], color="black", ls="--", lw=1.5, label="standard normal")
    panel.set(xlabel="normal quantile", ylabel="(observed - predicted) / deviation")
    panel.set_title("Standardised residuals")
    panel.legend(loc="upper left")


def _draw_calibration(panel: "matplotlib.axes.Axes", z: Tensor) -> None:
    """Coverage of central intervals, with two standard errors around what was promised."""
    found = diagnostics.calibration(z.unsqueeze(-1))
    x, share = found.levels.cpu(), found.coverage[0].cpu()
    error = 2 * (x * (1 - x) / len(z)).sqrt()
    band = ((x - error).clamp(0, 1).tolist(), (x + error).clamp(0, 1).tolist())
    panel.fill_between(x.tolist(), *band, color="black", alpha=0.12, lw=0, label="2 std. errors")
    panel.plot([0, 1], [0, 1], color="black", ls="--", lw=1.5, label="promised")
    panel.plot(x.tolist(), share.tolist(), label="found", **line_look(0) | {"ms": 4.5})
    panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the interval")
    panel.set_ylabel("share of values inside")
    panel.set_title("Calibration")
    panel.legend(loc="upper left")


def _draw_lengthscales(
    panel: "matplotlib.axes.Axes", model: ExactGP, where: tuple[int, ...]
) -> None:
    """Lengthscales on a logarithmic axis, for a plain kernel; a note for any other."""
    from matplotlib.ticker import LogLocator

    values = model.hyperparameters().get("lengthscale")
    panel.set_title("Lengthscales")
    if values is None:
        panel.set_axis_off()
        note = f"a {type(model.kernel).__name__}\nhas no lengthscale for each input"
        panel.text(0.5, 0.5, note, ha="center", va="center", transform=panel.transAxes)
        return
    ell = values[where].tolist()
    places = list(range(len(ell)))
    panel.barh(places, ell, color=OKABE_ITO["sky"], ec="black", lw=0.8)
    panel.axvline(1.0, color="black", ls=":", lw=1.5)
    panel.set_xscale("log")
    panel.set_xlim(min(*ell, 1.0, 0.1) / 2, 2 * max(*ell, 1.0, 1.0))
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.minorticks_off()
    panel.set_yticks(places, [f"input {i}" for i in places])
    panel.invert_yaxis()
    panel.set_xlabel("widths of the box (dotted: one)")
    panel.grid(visible=False, axis="y")
