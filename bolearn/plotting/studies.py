"""Figures of studies: regret with bands, paired differences.

Taught in part_4/tutorial_03.
"""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import stats
from ..errors import DataError
from ..studies.results import Kind, StudyResult
from .style import GREY, OKABE_ITO, figure_and_axes, line_look, log_floor

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


def regret_bands(
    result: StudyResult,
    names: Sequence[str] | None = None,
    kind: Kind | None = None,
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
        kind: "simple", "inference" or "hypervolume" regret; default: that of the result.
        quantiles: where the band begins and ends.
        ax: where to draw; default: a new figure.

    Raises:
        DataError: unknown strategies, or no recommendations for inference regret.
    """
    if not isinstance(result, StudyResult):
        raise DataError(f"result: expected what bolearn.study returns, got {type(result).__name__}")
    kind = kind or result.default_kind
    known = result.optimum(kind) is not None
    low, high = quantiles
    shown = list(result.names if names is None else names)
    curves = {}
    for name in shown:
        scores = (result.regret if known else result.best)(name, kind)
        curves[name] = stats.quantiles(scores.T, [low, 0.5, high])
    floor = log_floor(list(curves.values())) if known else None
    figure, panel = figure_and_axes(ax)
    x, hit, many = result.evaluations.tolist(), False, len(shown) > 4
    for k, name in enumerate(shown):
        y = curves[name]
        y = y.masked_fill(y.isinf(), torch.nan)
        if floor is not None:
            hit |= bool((y < floor).any())
            y = y.clamp(min=floor)
        style = line_look(list(result.names).index(name))
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
    names_of = {"simple": "best value", "inference": "value recommended"}
    what = f"{kind} regret" if known else names_of.get(kind, kind)
    note = "\n(at the lower end: zero)" if hit else ""
    panel.set_ylabel(what + _output(result) + note)
    runs = f"median and {low:.0%} to {high:.0%} of {result.replicates} runs"
    panel.set_title(f"{result.problem}: {runs}")
    if many:  # beside the axes: inside it would hide what it names
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        panel.legend(loc="upper right" if known else "lower right")  # where no curve goes
    return figure


def paired_differences(
    result: StudyResult,
    a: str,
    b: str,
    at: int | None = None,
    kind: Kind | None = None,
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
        kind: "simple", "inference" or "hypervolume" regret; default: that of the result.
        ax: where to draw; default: a new figure.
        floor: smaller regrets count as this one.

    Raises:
        DataError: unknown strategies or a budget outside the study.
    """
    comparison = result.compare(a, b, at=at, kind=kind, floor=floor)
    first, second = (result.scores(n, at=at, kind=kind, floor=floor) for n in (a, b))
    kind = kind or result.default_kind
    known = result.optimum(kind) is not None
    difference = (first - second).sort().values
    gain = -difference if known else difference
    figure, panel = figure_and_axes(ax)
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
    value = "hypervolume" if kind == "hypervolume" else "best value"
    score = f"log10 {kind} regret" if known else value
    panel.set_ylabel(f"{score}{_output(result)}\n{a} minus {b}")
    after = result.evaluations[-1].item() if at is None else at
    verdict = comparison.verdict
    verdict_text = verdict if verdict == "undecided" else f"{a} is {verdict}"
    panel.set_title(f"{result.problem} after {after} evaluations: {verdict_text}")
    panel.legend()
    return figure


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
    floor = log_floor(list(regrets.values()))
    size = (4.6 * len(shown) + 0.6, 4.4)
    figure, panels = pyplot.subplots(1, len(shown), figsize=size, sharey=True, squeeze=False)
    x = result.evaluations.tolist()
    for panel, name in zip(panels[0], shown, strict=True):
        style = line_look(list(result.names).index(name))
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
    panels[0, 0].set_ylabel(f"{result.default_kind} regret" + _output(result))
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
