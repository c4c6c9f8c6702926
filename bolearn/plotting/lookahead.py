"""Figures of look-ahead: lines, their envelope and the area that is a knowledge gradient; rules.

Taught in part_4/tutorial_05.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError
from ..models.exact import ExactGP
from .style import GREY, MARKERS, OKABE_ITO, line_look

if TYPE_CHECKING:
    import matplotlib.figure


def envelope(
    a: Float[Tensor, "M"], b: Float[Tensor, "_"], *, moved: int, reach: float = 3.0
) -> "matplotlib.figure.Figure":
    """Means as lines in a surprise z with their upper envelope; and the area that is KG.

    Left, the lines a + b z, the envelope and today's choice, the line that is highest at z = 0.
    Right, the envelope minus today's choice, times the density of z.

    Args:
        a: heights at z = 0.
        b: slopes.
        moved: the line that is drawn in colour.
        reach: z is drawn from -reach to reach.

    Raises:
        ShapeError: not as many slopes as heights.
        DataError: a line that does not exist.

    Example:
        >>> figure = envelope(torch.zeros(2).double(), torch.tensor([0.0, 1.0]).double(), moved=1)
    """
    from matplotlib import pyplot

    if b.shape != a.shape:
        raise ShapeError(f"envelope: expected {len(a)} slopes, got shape {tuple(b.shape)}")
    if not 0 <= moved < len(a):
        raise DataError(f"envelope: expected moved from 0 to {len(a) - 1}, got {moved}")
    z = torch.linspace(-reach, reach, 601, dtype=a.dtype)
    means = a + z.unsqueeze(-1) * b
    best, today = means.amax(-1), means[:, int(a.argmax())]
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.0, 4.0))
    for j in range(len(a)):
        style: dict[str, Any] = {"color": GREY, "lw": 1.0, "ls": "-"}
        if j == moved:
            style = {"color": OKABE_ITO["vermillion"], "lw": 2.0, "ls": "-."}
        left.plot(z.tolist(), means[:, j].tolist(), **style)
    blue = {"color": OKABE_ITO["blue"], "ls": "-", "lw": 4.0, "alpha": 0.7}
    left.plot(z.tolist(), best.tolist(), label="upper envelope", **blue)
    left.plot(z.tolist(), today.tolist(), color="black", ls="--", lw=1.6, label="today's choice")
    span = float(best.max() - best.min())
    left.set(
        xlabel="surprise z", ylabel="mean after the outcome", xlim=(-reach, reach),
        ylim=(float(best.min()) - 0.9 * span, float(best.max()) + 0.1 * span),
    )  # fmt: skip
    left.legend(loc="lower right")
    gain = ((best - today) * density).tolist()
    green = OKABE_ITO["green"]
    right.fill_between(z.tolist(), gain, color=green, alpha=0.35, lw=0, label="area: KG")
    right.plot(z.tolist(), gain, color=green, ls="-", lw=1.6)
    right.plot(z.tolist(), density.tolist(), color=GREY, ls="--", lw=1.6, label="density of z")
    right.set(xlabel="surprise z", ylabel="gain × density", xlim=(-reach, reach), ylim=(0, None))
    right.legend(loc="upper left")
    return figure


def rules(
    models: Mapping[str, ExactGP],
    x: Float[Tensor, "k"],
    values: Mapping[str, Mapping[str, Float[Tensor, "_"]]],
    *,
    xlabel: str,
) -> "matplotlib.figure.Figure":
    """Beliefs about a function of one input, and below each what several rules think of it.

    A rule's values are divided by their maximum, which a marker shows: only its place counts.

    Args:
        models: by title.
        x: where they are asked.
        values: by the same titles, the values at x of each rule by label; not negative.
        xlabel: what x is, with its unit.

    Raises:
        ShapeError: values of another length than x.
    """
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        2, len(models), figsize=(4.9 * len(models), 5.6), sharex=True, sharey="row",
        height_ratios=(1.2, 1), squeeze=False,
    )  # fmt: skip
    for (above, below), (title, model) in zip(grid.T, models.items(), strict=True):
        with torch.no_grad():
            posterior = model.posterior(x.reshape(-1, 1, 1))
        mean, sd = posterior.mean.flatten(), posterior.variance.flatten().clamp(min=0).sqrt()
        blue = OKABE_ITO["blue"]
        band = ((mean - 2 * sd).tolist(), (mean + 2 * sd).tolist())
        above.fill_between(x.tolist(), *band, color=blue, alpha=0.2, lw=0, label="mean ± 2 sd")
        above.plot(x.tolist(), mean.tolist(), color=blue, ls="-", lw=1.6)
        dots: dict[str, Any] = {"ls": "", "marker": "o", "mec": "black", "zorder": 3}
        dots["color"] = OKABE_ITO["vermillion"]
        above.plot(model.X[:, 0].tolist(), model.Y[:, 0].tolist(), label="data", **dots)
        above.set(title=title)
        for k, (label, value) in enumerate(values[title].items()):
            if value.shape != x.shape:
                raise ShapeError(
                    f"{label}: expected {len(x)} values, got shape {tuple(value.shape)}"
                )
            share, top = value / value.max(), int(value.argmax())
            look = line_look(k) | {"marker": ""}
            below.plot(x.tolist(), share.tolist(), **look)
            mark = {"marker": MARKERS[k], "ms": 10, "mec": "black", "clip_on": False, "zorder": 4}
            below.plot([x[top].item()], [1.0], label=label, **(look | mark))
        below.set(xlabel=xlabel)
    grid[0, 0].set_ylabel("value")
    grid[1, 0].set_ylabel("rule / its maximum")
    grid[0, 0].legend(loc="lower center")
    handles = grid[1, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(values[next(iter(models))]))
    return figure
