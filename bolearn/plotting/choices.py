"""Figures of designed experiments: effects with their intervals, designs with a score.

Taught in part_4/tutorial_04.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from .style import GREY, line_look

if TYPE_CHECKING:
    import matplotlib.figure


def forest(
    effects: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    xlabel: str,
    errors: float = 4.0,
    stored: tuple[str, ...] = (),
    rules_after: tuple[str, ...] = (),
) -> "matplotlib.figure.Figure":
    """One row for each effect, one mark for each experiment: the effect and its interval.

    Args:
        effects: by experiment, and by effect: its mean and its standard error. Rows are those of
            the first experiment that has them, in order.
        xlabel: what an effect is, with its unit.
        errors: half of the interval in standard errors.
        stored: experiments that were not run just now: drawn lighter, and named so.
        rules_after: effects below which a line is drawn.

    Example:
        >>> one = {"kernel": (0.1, 0.02), "prior": (-0.05, 0.04)}
        >>> figure = forest({"Rosenbrock": one}, xlabel="gain in decades")
    """
    from matplotlib import pyplot

    rows = list(dict.fromkeys(name for own in effects.values() for name in own))
    height = 0.15 * len(effects) + 0.06
    figure, panel = pyplot.subplots(figsize=(8.4, height * len(rows) + 1.7))
    panel.axvline(0.0, color="black", lw=1.2)
    for k, (experiment, own) in enumerate(effects.items()):
        shift = (k - (len(effects) - 1) / 2) * 0.15 / height
        look = line_look(k) | {"ls": "", "ms": 6, "mec": "black", "mew": 0.6, "capsize": 2}
        look |= {"alpha": 0.45} if experiment in stored else {}
        label = f"{experiment} (precomputed)" if experiment in stored else experiment
        at = [rows.index(name) + shift for name in own]
        middle = [mean for mean, _ in own.values()]
        half = [errors * error for _, error in own.values()]
        panel.errorbar(middle, at, xerr=half, label=label, **look)
    for name in rules_after:
        panel.axhline(rows.index(name) + 0.5, color=GREY, ls=":", lw=1.2)
    panel.set_yticks(range(len(rows)), rows)
    panel.set_ylim(len(rows) - 0.45, -0.55)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel(f"{xlabel}\nmark: mean, line: ± {errors:g} standard errors")
    if len(effects) > 1 or stored:
        panel.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=1)
    return figure


def designs(
    points: Mapping[str, Float[Tensor, "..."]], scores: Mapping[str, float]
) -> "matplotlib.figure.Figure":
    """Designs of two inputs side by side, each with a number over it.

    Args:
        points: by label, ``n 2`` in the unit square.
        scores: by the same labels.

    Raises:
        ShapeError: points of other than two inputs.

    Example:
        >>> import torch
        >>> figure = designs({"middle": torch.full((1, 2), 0.5)}, {"middle": 0.07})
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(points), figsize=(2.5 * len(points) + 0.4, 3.7), sharey=True, squeeze=False
    )
    for panel, (label, U) in zip(panels[0], points.items(), strict=True):
        if U.ndim != 2 or U.shape[-1] != 2:
            raise ShapeError(f"{label}: expected points n 2, got shape {tuple(U.shape)}")
        look = line_look(0) | {"ls": "", "ms": 7, "mec": "black", "mew": 0.5}
        panel.plot(U[:, 0].tolist(), U[:, 1].tolist(), **look)
        panel.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal", xlabel="$x_1$")
        panel.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        panel.set_title(f"{label}\n{scores[label]:.4f}", fontsize=12)
    panels[0, 0].set_ylabel("$x_2$")
    return figure
