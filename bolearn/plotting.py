"""The figures of the course, in one style.

Every function returns a matplotlib figure and shows nothing; `bolearn.teach.show` shows it with its
alternative text. Colours are those of Okabe and Ito, which stay apart for colour-blind readers, and
no line depends on its colour alone: line styles and markers say the same. matplotlib is imported
when the first figure is drawn.

Taught in part_4/tutorial_03; the pictures of memory at the end in part_1/tutorial_01.

Source:
    Okabe & Ito, "Color universal design" (2008), https://jfly.uni-koeln.de/color/.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from . import diagnostics, stats
from .errors import DataError, ShapeError
from .models.exact import ExactGP
from .problems import Problem
from .protocols import Acquisition
from .results import Kind, StudyResult
from .shapes import check_count, check_points

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


def regret_bands(
    result: StudyResult,
    names: Sequence[str] | None = None,
    kind: Kind = "simple",
    quantiles: tuple[float, float] = (0.25, 0.75),
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.figure.Figure":
    """Median regret over the replicates against evaluations, with a band between two quantiles.

    Where the optimum is not known, the best value found instead. The shared initial design is
    shaded. A regret of exactly zero cannot stand on a logarithmic axis: it is drawn at its lower
    end, and the axis says so.

    Args:
        result: of a study.
        names: which strategies; default: all.
        kind: "simple" or "inference" regret.
        quantiles: where the band begins and ends.
        ax: where to draw; default: a new figure.

    Raises:
        DataError: unknown strategies, or no recommendations for inference regret.
    """
    if not isinstance(result, StudyResult):
        raise DataError(f"result: expected what bolearn.study returns, got {type(result).__name__}")
    known = result.optimal_value is not None
    low, high = quantiles
    shown = list(result.names if names is None else names)
    curves = {}
    for name in shown:
        scores = (result.regret if known else result.best)(name, kind)
        curves[name] = stats.quantiles(scores.T, [low, 0.5, high])
    floor = _log_floor(list(curves.values())) if known else None
    figure, panel = _axes(ax)
    x, hit, many = result.evaluations.tolist(), False, len(shown) > 4
    for k, name in enumerate(shown):
        y = curves[name]
        y = y.masked_fill(y.isinf(), torch.nan)
        if floor is not None:
            hit |= bool((y < floor).any())
            y = y.clamp(min=floor)
        style = _line(list(result.names).index(name))
        every = max(1, len(x) // 8)
        # markers of different lines stand at different places, so that they do not hide each other
        mark = (k * every // max(1, len(shown)), every)
        band = {"color": style["color"], "alpha": 0.1 if many else 0.18, "lw": 0}
        panel.fill_between(x, y[0].tolist(), y[2].tolist(), **band)
        panel.plot(x, y[1].tolist(), markevery=mark, label=name, **style)
    if floor is not None:
        panel.set_yscale("log")
    _shade_design(panel, result.n_init)
    panel.set_xlim(1, x[-1])
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_xlabel("evaluations")
    what = f"{kind} regret" if known else "best value" if kind == "simple" else "value recommended"
    note = "\n(at the lower end: zero)" if hit else ""
    panel.set_ylabel(what + _output(result) + note)
    runs = f"median and {low:.0%} to {high:.0%} of {result.replicates} runs"
    panel.set_title(f"{result.problem}: {runs}")
    if many:  # beside the axes: inside it would hide what it names
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        panel.legend()
    return figure


def paired_differences(
    result: StudyResult,
    a: str,
    b: str,
    at: int | None = None,
    kind: Kind = "simple",
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    floor: float = 1e-12,
) -> "matplotlib.figure.Figure":
    """Sorted differences of log10 regret (or of best values), a minus b, one for each replicate.

    The line is the median difference, the band its 95 % bootstrap interval; zero means no
    difference. Circles are replicates that a wins, squares those that b wins, crosses ties.

    Args:
        result: of a study.
        a, b: strategies.
        at: after how many evaluations; default: all.
        kind: "simple" or "inference" regret.
        ax: where to draw; default: a new figure.
        floor: smaller regrets count as this one.

    Raises:
        DataError: unknown strategies or a budget outside the study.
    """
    comparison = result.compare(a, b, at=at, kind=kind, floor=floor)
    first, second = (result.scores(n, at=at, kind=kind, floor=floor) for n in (a, b))
    known = result.optimal_value is not None
    difference = (first - second).sort().values
    gain = -difference if known else difference
    figure, panel = _axes(ax)
    x = torch.arange(1, len(difference) + 1)
    panel.axhline(0.0, color="black", lw=1.2)
    panel.axhspan(comparison.low, comparison.high, color=OKABE_ITO["sky"], alpha=0.3, lw=0)
    panel.axhline(comparison.median_difference, color=OKABE_ITO["blue"], ls="--", label="median")
    kinds = (
        (gain > 0, f"{a} better", "o", "blue"),
        (gain < 0, f"{b} better", "s", "vermillion"),
        (gain == 0, "tie", "x", "black"),
    )
    for where, label, marker, color in kinds:
        if where.any():
            style = {"ls": "", "marker": marker, "color": OKABE_ITO[color]}
            panel.plot(x[where].tolist(), difference[where].tolist(), label=label, **style)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_xlabel("replicates, sorted by difference")
    score = f"log10 {kind} regret" if known else "best value"
    panel.set_ylabel(f"{score}{_output(result)}\n{a} minus {b}")
    after = result.evaluations[-1].item() if at is None else at
    verdict = comparison.verdict
    verdict_text = verdict if verdict == "undecided" else f"{a} is {verdict}"
    panel.set_title(f"{result.problem} after {after} evaluations: {verdict_text}")
    panel.legend()
    return figure


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
    figure, panel = _axes(ax)
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
        figure, panel = _axes(ax)
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


def _axes(ax: "matplotlib.axes.Axes | None") -> "tuple[matplotlib.figure.Figure, Any]":
    """The figure and the axes to draw on; new ones by default."""
    from matplotlib import pyplot

    if ax is not None:
        return cast("matplotlib.figure.Figure", ax.figure), ax

    return pyplot.subplots()


def _line(k: int) -> dict[str, Any]:
    """Colour, line style and marker of line k: the same strategy looks the same in all figures."""
    colors = list(OKABE_ITO.values())
    return {
        "color": colors[k % len(colors)],
        "ls": LINE_STYLES[k % len(LINE_STYLES)],
        "marker": MARKERS[k % len(MARKERS)],
    }


def _log_floor(curves: Sequence[Tensor]) -> float:
    """The lower end of a logarithmic axis: below the smallest positive number, at most a decade."""
    values = torch.cat([curve.flatten() for curve in curves])
    positive = values[(values > 0) & values.isfinite()]
    return float(positive.min() / 3) if len(positive) else 1e-12


def _output(result: StudyResult) -> str:
    """What was measured, as further lines of an axis label."""
    if result.output == "value":
        return ""
    return "".join("\n" + line for line in textwrap.wrap(result.output, 36))


def _shade_design(ax: Any, n_init: int) -> None:
    """Shade the evaluations that all strategies share."""
    ax.axvspan(0.0, n_init + 0.5, color=GREY, alpha=0.12, lw=0)
    ax.text(
        0.01,
        0.02,
        "initial design",
        transform=ax.transAxes,
        color="#404040",
        fontsize=11,
        va="bottom",
    )


# --- part_1/tutorial_01: what a tensor looks like in memory --------------------------------------


def memory_layout(base: Tensor, derived: Mapping[str, Tensor]) -> "matplotlib.figure.Figure":
    """A storage as a strip, and what several tensors read from it.

    Each cell shows a value and, as `@place` and as colour, where in its storage the value lies.

    Args:
        base: the tensor whose storage is the strip.
        derived: tensors of one or two axes by their label. One that shares `base`'s storage is
            drawn plain; one with a storage of its own gets a hatched frame.

    Raises:
        ShapeError: a tensor of no or of more than two axes.

    Example:
        >>> x = torch.arange(6.0).reshape(2, 3)
        >>> figure = memory_layout(x, {"x": x, "x.T": x.T})
    """
    from matplotlib import pyplot

    for label, x in derived.items():
        if x.ndim not in (1, 2):
            raise ShapeError(f"{label}: expected one or two axes, got shape {tuple(x.shape)}")
    columns = 3
    rows = -(-len(derived) // columns)
    figure = pyplot.figure(figsize=(9.0, 1.6 + 3.3 * rows), layout="none")
    box = {"left": 0.01, "right": 0.99, "top": 0.95, "bottom": 0.01}
    heights = [0.9] + [3.0] * rows
    grid = figure.add_gridspec(
        rows + 1, columns, height_ratios=heights, hspace=0.42, wspace=0.06, **box
    )
    places = base.untyped_storage().nbytes() // base.element_size()
    strip = figure.add_subplot(grid[0, :])
    _memory_cells(strip, base.as_strided((1, places), (places, 1), 0), places, (1, places))
    strip.set_title("the storage: large the value, small its place", size=14)
    address = base.untyped_storage().data_ptr()
    tables = [x if x.ndim == 2 else x.unsqueeze(0) for x in derived.values()]
    room = (max(x.shape[0] for x in tables), max(x.shape[1] for x in tables))
    for index, (label, x) in enumerate(derived.items()):
        panel = figure.add_subplot(grid[1 + index // columns, index % columns])
        own = x.untyped_storage().data_ptr() != address
        _memory_cells(panel, tables[index], places, room, framed=own)
        where = "a storage of its own" if own else f"offset {x.storage_offset()}"
        panel.set_title(
            f"{label}\nshape {tuple(x.shape)}, stride {tuple(x.stride())}\n{where}", size=13
        )
    return figure


def broadcast_diagram(
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
) -> "matplotlib.figure.Figure":
    """a + b for pairs of shapes of at most two axes; stretched axes appear as hatched ghosts.

    Raises:
        ShapeError: a shape of more than two axes.

    Example:
        >>> figure = broadcast_diagram([((3, 4), (4,)), ((3, 1), (4,))])
    """
    from matplotlib import pyplot

    for shape in (shape for pair in pairs for shape in pair):
        if len(shape) > 2:
            raise ShapeError(f"expected shapes of at most two axes, got {tuple(shape)}")
    size = (9.0, 2.4 * len(pairs))
    figure, panels = pyplot.subplots(len(pairs), 1, figsize=size, squeeze=False)
    for panel, (a, b) in zip(panels[:, 0], pairs, strict=True):
        rows, columns = torch.broadcast_shapes(a, b, (1, 1))
        parts = ((a, "sky", "+"), (b, "orange", "="), ((rows, columns), "green", ""))
        for k, (shape, color, sign) in enumerate(parts):
            left = k * (columns + 2.0)
            real = (1,) * (2 - len(shape)) + tuple(shape)
            _ghost_cells(panel, left, (rows, columns), real, OKABE_ITO[color])
            stride = torch.empty(shape).expand(rows, columns).stride()
            label = f"{tuple(shape)}, stride {tuple(stride)}" if sign else f"{tuple(shape)}"
            panel.text(left + columns / 2, -0.3, label, ha="center", va="bottom", size=14)
            panel.text(left + columns + 1, rows / 2, sign, ha="center", va="center", size=20)
        panel.set_xlim(-0.3, 3 * columns + 4.3)
        panel.set_ylim(rows + 0.2, -1.0)
        panel.set_aspect("equal")
        panel.axis("off")
    return figure


def success_heatmap(
    fractions: Mapping[str, Float[Tensor, "rows columns"]],
    rows: Sequence[float],
    columns: Sequence[float],
    *,
    row_label: str,
    column_label: str,
) -> "matplotlib.figure.Figure":
    """One map for each title: the fraction of attempts that succeeded, as colour and as per cent.

    Args:
        fractions: by title, values in [0, 1].
        rows: the number beside each row.
        columns: the number below each column.
        row_label: what the rows are.
        column_label: what the columns are.

    Raises:
        ShapeError: a table of another size than the rows and columns say.

    Example:
        >>> table = torch.eye(2, dtype=torch.float64)
        >>> labels = {"row_label": "points", "column_label": "jitter"}
        >>> figure = success_heatmap({"float64": table}, [10, 20], [0, 1e-6], **labels)
    """
    from matplotlib import pyplot

    for title, values in fractions.items():
        if tuple(values.shape) != (len(rows), len(columns)):
            raise ShapeError(
                f"{title}: expected a table of {len(rows)} by {len(columns)}, "
                f"got shape {tuple(values.shape)}"
            )
    size = (9.0, 0.7 + 2.8 * len(fractions))
    figure, panels = pyplot.subplots(
        len(fractions), 1, figsize=size, squeeze=False, sharex=True, layout="constrained"
    )
    for panel, (title, values) in zip(panels[:, 0], fractions.items(), strict=True):
        panel.imshow(values.tolist(), cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
        for i, line in enumerate(values.tolist()):
            for j, value in enumerate(line):
                style = {"color": _ink(value), "ha": "center", "va": "center", "size": 13}
                panel.text(j, i, f"{100 * value:.0f}", **style)
        panel.set_xticks(range(len(columns)), [_short(value) for value in columns])
        panel.set_yticks(range(len(rows)), [_short(value) for value in rows])
        panel.set_ylabel(row_label)
        panel.set_title(f"{title}: per cent that succeed")
        panel.grid(visible=False)
        panel.tick_params(length=0, labelsize=13)
        panel.spines[:].set_visible(False)
    panels[-1, 0].set_xlabel(column_label)
    return figure


def _memory_cells(
    panel: Any, x: Tensor, places: int, room: tuple[int, int], *, framed: bool = False
) -> None:
    """One square for each element of a table, found by the address rule alone."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            place = x.storage_offset() + i * x.stride(0) + j * x.stride(1)
            shade = place / max(places - 1, 1)
            color = colormaps["cividis"](shade)
            panel.add_patch(Rectangle((j, i), 1, 1, facecolor=color, edgecolor="white", lw=2))
            style = {"color": _ink(shade), "ha": "center", "va": "center"}
            panel.text(j + 0.5, i + 0.36, f"{float(x[i, j]):g}", size=15, **style)
            panel.text(j + 0.5, i + 0.77, f"@{place}", size=11, **style)
    if framed:
        frame = Rectangle((-0.3, -0.3), columns + 0.6, rows + 0.6, fill=False, zorder=0)
        frame.set(edgecolor=OKABE_ITO["vermillion"], hatch="////")
        panel.add_patch(frame)
    spare = (room[1] - columns) / 2  # the same room in every panel: cells of one size
    panel.set_xlim(-0.35 - spare, columns + spare + 0.35)
    panel.set_ylim(room[0] + 0.35, -0.35)
    panel.set_aspect("equal", anchor="N")
    panel.axis("off")


def _ghost_cells(
    panel: Any, left: float, shape: tuple[int, ...], real: tuple[int, ...], color: str
) -> None:
    """A grid of cells; those beyond `real` are ghosts: white, dashed and hatched."""
    from matplotlib.patches import Rectangle

    solid: dict[str, Any] = {"facecolor": color, "edgecolor": "black", "lw": 1.2}
    ghost = solid | {"facecolor": "white", "edgecolor": GREY, "ls": "--", "hatch": "///"}
    for i in range(shape[0]):
        for j in range(shape[1]):
            style = solid if i < real[0] and j < real[1] else ghost
            panel.add_patch(Rectangle((left + j, i), 1, 1, **style))


def _ink(shade: float) -> str:
    """The text colour that is readable on this shade of cividis (0 dark, 1 light)."""
    return "white" if shade < 0.5 else "black"


def _short(value: float) -> str:
    """100 as 100, 0.0001 as 1e-4.

    Example:
        >>> _short(1e-4), _short(200)
        ('1e-4', '200')
    """
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 1e-2 else f"{value:g}"


# ---------------------------------------------------------------- part_4/tutorial_03


def regret_curves(
    result: StudyResult,
    names: Sequence[str] | None = None,
    quantiles: tuple[float, float] = (0.25, 0.75),
) -> "matplotlib.figure.Figure":
    """Every run as a thin line, with the median and a band: one panel for each strategy.

    Args:
        result: of a study on a problem with a known optimum.
        names: which strategies; default: all.
        quantiles: where the band begins and ends.

    Raises:
        DataError: unknown strategies, or an optimum that is not known.
    """
    from matplotlib import pyplot

    shown = list(result.names if names is None else names)
    regrets = {name: result.regret(name) for name in shown}
    floor = _log_floor(list(regrets.values()))
    size = (4.6 * len(shown) + 0.6, 4.4)
    figure, panels = pyplot.subplots(1, len(shown), figsize=size, sharey=True, squeeze=False)
    x = result.evaluations.tolist()
    for panel, name in zip(panels[0], shown, strict=True):
        style = _line(list(result.names).index(name))
        y = regrets[name].clamp(min=floor)
        low, middle, high = stats.quantiles(y.T, [quantiles[0], 0.5, quantiles[1]]).tolist()
        for row in y.tolist():
            panel.plot(x, row, color=GREY, lw=0.8, ls="-", alpha=0.7)
        panel.fill_between(x, low, high, color=style["color"], alpha=0.25, lw=0)
        style |= {"ls": "-", "lw": 3.0, "markevery": max(1, len(x) // 8)}
        panel.plot(x, middle, **style)
        _shade_design(panel, result.n_init)
        panel.set_yscale("log")
        panel.set_xlim(1, x[-1])
        panel.set_xlabel("evaluations")
        panel.set_title(f"{name}: {result.replicates} runs, their median")
    panels[0, 0].set_ylabel("simple regret" + _output(result))
    return figure


def traced_bound(
    bound: Float[Tensor, "r n"],
    regret: Float[Tensor, "r n"],
    evaluations: Sequence[int],
    lower: Sequence[bool],
) -> "matplotlib.figure.Figure":
    """What a model promises about the regret, and the truth, run by run.

    Args:
        bound: the promised bound after each number of evaluations.
        regret: the true regret.
        evaluations: the horizontal axis.
        lower: for each run, whether to draw it in the right panel.
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4.4), sharey=True)
    titles = ("runs on the higher hill", "runs on the lower hill")
    for panel, title, wanted in zip(panels, titles, (False, True), strict=True):
        rows = [i for i, flag in enumerate(lower) if flag == wanted]
        for k, i in enumerate(rows):
            kinds = (
                (bound, "blue", "-", "the model's bound"),
                (regret, "vermillion", "--", "truth"),
            )
            for values, color, ls, label in kinds:
                style = {"color": OKABE_ITO[color], "ls": ls, "lw": 1.2, "alpha": 0.8}
                y = values[i].clamp(min=1e-4).tolist()
                panel.plot(evaluations, y, label="" if k else label, **style)
        panel.set_yscale("log")
        panel.set_xlabel("evaluations")
        panel.set_title(f"{title} ({len(rows)})")
    panels[-1].legend(loc="lower left")
    panels[0].set_ylabel("regret (1e-4 and below at the lower end)")
    return figure


# ---------------------------------------------------------------- part_1/tutorial_03


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
    figure, panel = _axes(None)
    for k, (label, y) in enumerate(lines.items()):
        if y.shape != x.shape:
            raise ShapeError(f"{label}: expected {len(x)} values, got shape {tuple(y.shape)}")
        shown = y.masked_fill(~y.isfinite(), torch.nan).tolist()
        every = max(1, len(x) // 8)
        mark = (k * every // len(lines), every)
        panel.plot(x.tolist(), shown, label=label, markevery=mark, **_line(k))
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


# ---------------------------------------------------------------- part_2/tutorial_01


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
    figure, panel = _axes(None)
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


# ---------------------------------------------------------------- part_2/tutorial_02


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
            style = _line(list(seen).index(label) if label in seen else len(seen))
            every = len(path) + 1 if len(path) > 60 else 1  # a curve has no markers
            (line,) = panel.plot(*path.T.tolist(), markevery=every, **style | {"ms": 5, "lw": 1.6})
            seen.setdefault(label, line)
        panel.plot([0.0], [0.0], ls="", marker="+", ms=11, mew=2, color="black")
        xlabel, ylabel = labels[k % len(labels)]
        panel.set(xlim=(-right, right), ylim=(-top, top), title=title)
        panel.set(xlabel=xlabel, ylabel=ylabel)
        panel.set_aspect("equal")
        panel.grid(visible=False)
    figure.legend(seen.values(), list(seen), loc="outside lower center", ncols=4, frameon=False)
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

    Example:
        >>> X = torch.linspace(0, 1, 6, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> figure = model_report(ExactGP(X, (5 * X).sin(), box))
    """
    from matplotlib import pyplot

    where = (replicate,) if isinstance(replicate, int) else tuple(replicate)
    sizes = (*model.batch_shape, model.num_outputs)
    inside = (0 <= i < size for i, size in zip((*where, output), sizes, strict=False))
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
    panel.plot(x.tolist(), share.tolist(), label="found", **_line(0) | {"ms": 4.5})
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


# ---------------------------------------------------------------- part_2/tutorial_03


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
    z² − (1 + β − h) z + β: light is fast; outside the triangle the ball runs away. Below the dashed
    curve both roots are real. On the right the first steps from 1, starting at rest.

    Args:
        points: pairs (h, β) by label, at most six.
        steps: how many steps of each path.

    Example:
        >>> figure = stability_triangle({"swings": (0.5, 0.8)})
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
    panel.plot([0, 0, 4, 0], [-1, 1, 1, -1], color="black", lw=2.5)
    side = torch.linspace(-1.0, 1.0, 201).double()
    panel.plot(((1 + side) ** 2).tolist(), (side**2).tolist(), color="black", ls="--", lw=1.6)
    for k, (label, (a, b)) in enumerate(points.items()):
        style: dict[str, Any] = {"color": list(OKABE_ITO.values())[k + 1], "marker": MARKERS[k]}
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
    return figure


# ---------------------------------------------------------------- part_2/tutorial_04

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")
PALE = ("#FFFFFF", "#F5D9A0", "#BFE0F3", "#E8C4DA", "#BFE3D8", "#D9D9D9")


def landscape(
    loss: Callable[[Tensor], Tensor],
    window: float | int,
    marks: Mapping[str, Float[Tensor, "..."]],
    *,
    basins: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    resolution: int = 301,
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

    Example:
        >>> origin = {"bottom": torch.zeros(1, 2)}
        >>> left = {"left": lambda x: x[:, 0] < 0}
        >>> figure = landscape(lambda x: x.square().sum(-1), 1.0, origin, basins=left)
    """
    from matplotlib import pyplot
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.patches import Patch

    figure, panel = pyplot.subplots(figsize=(7.4, 5.4))
    side = torch.linspace(-window, window, resolution, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    shape, u = (resolution, resolution), side.tolist()
    heights = loss(grid)
    levels = stats.quantiles(heights, [k / 10 for k in range(11)]).unique().tolist()
    table = heights.reshape(shape).T.tolist()
    norm = BoundaryNorm(levels, 256)
    keys: list[Any] = []
    if basins is None:
        areas = panel.contourf(u, u, table, levels, cmap="cividis", norm=norm)
        figure.colorbar(areas, ax=panel, label="loss", format="%.1f")
    for k, (label, belongs) in enumerate((basins or {}).items()):
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
    figure.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False)
    return figure


def with_intervals(
    measured: Mapping[str, tuple[Tensor, Float[Tensor, "..."]]],
    lines: Mapping[str, tuple[Tensor, Float[Tensor, "..."]]],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
) -> "matplotlib.figure.Figure":
    """Measured points with their intervals, over the lines that a theory predicts.

    Args:
        measured: by label, where the points stand (`n`), and low end, value and high end (`3 n`).
            If they stand at integers, so do the ticks.
        lines: by label, the coordinates of a line.
        xlabel, ylabel: what the axes show, with units.
        log: which axes are logarithmic: "x", "y" or "xy".

    Raises:
        ShapeError: not three numbers for each point.

    Example:
        >>> x = torch.tensor([1.0, 2.0])
        >>> points = {"counted": (x, torch.stack([x - 0.2, x, x + 0.2]))}
        >>> figure = with_intervals(points, {"theory": (x, x)}, xlabel="x", ylabel="y")
    """
    figure, panel = _axes(None)
    for k, (label, (x, y)) in enumerate(lines.items()):
        style = _line(k) | {"marker": ""}
        panel.plot(x.tolist(), y.tolist(), label=label, **style)
    for k, (label, (x, table)) in enumerate(measured.items()):
        if x.ndim != 1 or table.shape != (3, len(x)):
            raise ShapeError(
                f"{label}: expected low end, value and high end for each of {len(x)} points, got "
                f"shape {tuple(table.shape)}"
            )
        low, value, high = table
        style = _line(k + len(lines)) | {"ls": "", "mec": "black", "capsize": 4, "lw": 1.6}
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
