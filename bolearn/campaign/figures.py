"""Figures of a campaign to hover over, for notebooks and for the report.

    from bolearn.campaign import figures
    figures.progress(campaign).show()

Each function takes a campaign and returns a `plotly.graph_objects.Figure`; ``figure.layout.meta``
holds what it shows in words, for those who cannot see it. None means that there is nothing to show
yet, or nothing to trust.

Taught in part_5/tutorial_04.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch

from ..errors import DataError, NotFittedError
from ..numerics import log_ndtr
from ..space.parameters import Categorical, Parameter, Value
from ..space.space import Space
from . import checks, tables
from .acquisitions import baseline_of
from .campaign import Campaign
from .goals import Objective
from .sensitivity import Sensitivity, at_share, sobol_indices
from .trial import Trial

BLUE, RED, GREEN, ORANGE, PURPLE, GREY = (
    "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#7a7f87",
)  # fmt: skip
_SIGNS = {"design": "circle-open", "model": "circle", "strategy": "circle", "wish": "diamond",
          "data": "square"}  # fmt: skip
_WORDS = {"design": "initial design", "model": "proposed by the model", "strategy": "proposed",
          "wish": "wished for", "data": "data from before"}  # fmt: skip
_POINTS = 41  # along an axis of a slice
_GRID = 25  # along each axis of a map
_GRIDLINE = "rgba(128,128,128,0.25)"


def plain_text(text: object) -> str:
    """Text that plotly shows as it is: its labels know some HTML."""
    return html.escape(str(text), quote=False)


def titled(parameter: Parameter) -> str:
    """Name and unit of a parameter."""
    unit = getattr(parameter, "unit", None)
    return plain_text(f"{parameter.name} ({unit})" if unit else parameter.name)


def _figure(x: str, y: str, alt: str, **layout: Any) -> go.Figure:
    """An empty figure: transparent, so that it fits light and dark pages."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", "size": 13},
        margin={"l": 58, "r": 14, "t": 34, "b": 48},
        height=360,
        hoverlabel={"bgcolor": "#22262b", "font": {"color": "#ffffff"}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        meta={"alt": alt},
        dragmode=False,
        **layout,
    )
    axis = {"gridcolor": _GRIDLINE, "zeroline": False, "linecolor": GREY, "automargin": True}
    figure.update_xaxes(title={"text": x}, **axis)
    figure.update_yaxes(title={"text": y}, **axis)
    return figure


def _setting(trial: Trial) -> str:
    """A trial's parameters for a label."""
    lines = [f"{plain_text(k)} = {plain_text(_short(v))}" for k, v in trial.parameters.items()]
    return "<br>".join(lines)


def _short(value: Value) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _aim(campaign: Campaign, outcome: str | None = None) -> Objective:
    """The objective of a name; the first without one.

    Raises:
        DataError: no such objective.
    """
    aims = campaign._view().revision.goals.objectives
    for aim in aims:
        if outcome in (None, aim.outcome):
            return aim
    raise DataError(f"outcome: expected one of {[a.outcome for a in aims]}, got {outcome!r}")


# ---------------------------------------------------------------- what was measured


def progress(campaign: Campaign, outcome: str | None = None) -> go.Figure | None:
    """Every measured value of an objective, and the best that kept all limits, trial by trial."""
    view, aim = campaign._view(), _aim(campaign, outcome)
    good = {t.id for t in tables.feasible(view)}
    known = [t for t in campaign.trials if aim.outcome in tables.values(t)]
    if not known:
        return None
    best: list[float] = []
    for t in known:
        value = aim.sign * tables.values(t)[aim.outcome]
        before = best[-1] if best else -float("inf")
        best.append(max(before, value) if t.id in good else before)
    reached = [(t.id, aim.sign * b) for t, b in zip(known, best, strict=True) if abs(b) < 1e300]
    words = f"{len(known)} values of {aim.outcome}"
    if reached:
        first, last = reached[0][1], reached[-1][1]
        words += f"; the best that keeps all limits went from {first:.4g} to {last:.4g}"
    figure = _figure("trial", plain_text(aim.outcome), words + ".")
    for origin in dict.fromkeys(t.origin for t in known):
        some = [t for t in known if t.origin == origin]
        figure.add_scatter(
            x=[t.id for t in some],
            y=[tables.values(t)[aim.outcome] for t in some],
            mode="markers",
            name=_WORDS[origin],
            marker={
                "symbol": _SIGNS[origin],
                "size": 9,
                "color": [BLUE if t.id in good else GREY for t in some],
                "line": {"width": 1.6, "color": [BLUE if t.id in good else GREY for t in some]},
            },
            error_y=_error_bars(some, aim.outcome),
            customdata=[_setting(t) + ("" if t.id in good else "<br>breaks a limit") for t in some],
            hovertemplate="trial %{x}: %{y:.5g}<br>%{customdata}<extra></extra>",
        )
    if reached:
        figure.add_scatter(
            x=[i for i, _ in reached],
            y=[v for _, v in reached],
            mode="lines",
            line={"shape": "hv", "color": RED, "width": 2.2},
            name="best so far",
            hovertemplate="after trial %{x}: %{y:.5g}<extra></extra>",
        )
    return figure


def _error_bars(trials: Sequence[Trial], outcome: str) -> dict[str, Any]:
    """95 % of a measurement, where its standard error was told."""
    errors = [t.measured[outcome].sem if outcome in t.measured else None for t in trials]
    bars = [1.96 * (s or 0.0) for s in errors]
    return {"type": "data", "array": bars, "visible": any(bars), "color": GREY, "thickness": 1}


def front(campaign: Campaign) -> go.Figure | None:
    """The first two objectives against each other, and which trials no other beats in all."""
    view = campaign._view()
    aims = view.revision.goals.objectives
    known = [t for t in campaign.trials if all(a.outcome in tables.values(t) for a in aims)]
    if len(aims) < 2 or not known:
        return None
    x, y = aims[0].outcome, aims[1].outcome
    best = {t.id for t in campaign.pareto()}
    alt = f"{len(known)} trials by {x} and {y}; {len(best)} of them are beaten by no other."
    figure = _figure(plain_text(x), plain_text(y), alt)
    for name, mark, colour, some in (
        ("other trials", "circle-open", GREY, [t for t in known if t.id not in best]),
        ("Pareto front", "diamond", RED, [t for t in known if t.id in best]),
    ):
        some = sorted(some, key=lambda t: tables.values(t)[x])
        lines = mark == "diamond" and len(aims) == 2
        figure.add_scatter(
            x=[tables.values(t)[x] for t in some],
            y=[tables.values(t)[y] for t in some],
            mode="lines+markers" if lines else "markers",
            line={"dash": "dot", "width": 1, "color": colour},
            marker={"symbol": mark, "size": 10, "color": colour},
            name=name,
            customdata=[f"trial {t.id}<br>{_setting(t)}" for t in some],
            hovertemplate=f"{plain_text(x)} %{{x:.5g}}, {plain_text(y)} %{{y:.5g}}"
            "<br>%{customdata}<extra></extra>",
        )
    return figure


def costs(campaign: Campaign) -> go.Figure | None:
    """What was spent, summed up."""
    paid = [t for t in campaign.trials if t.spent is not None]
    if len(paid) < 2:
        return None
    total = torch.tensor([t.spent for t in paid], dtype=torch.float64).cumsum(0).tolist()
    figure = _figure("trial", "spent in all", f"{len(paid)} trials cost {total[-1]:.4g} in all.")
    figure.add_scatter(
        x=[t.id for t in paid],
        y=total,
        mode="lines+markers",
        line={"shape": "hv", "color": PURPLE},
        customdata=[t.spent for t in paid],
        hovertemplate="trial %{x}: %{customdata:.4g}, %{y:.5g} in all<extra></extra>",
        name="spent",
    )
    return figure


# ---------------------------------------------------------------- is the model to be trusted


def calibration(campaign: Campaign, outcome: str | None = None) -> go.Figure | None:
    """What was expected when a trial was proposed, against what was measured then."""
    aim = _aim(campaign, outcome)
    rows = []
    for t in campaign.trials:
        found = ((t.proposal or {}).get("predicted") or {}).get(aim.outcome)
        if found is not None and aim.outcome in tables.values(t):
            rows.append((t, found["mean"], found["std"], tables.values(t)[aim.outcome]))
    if not rows:
        return None
    inside = sum(abs(y - mean) <= 1.96 * std for _, mean, std, y in rows)
    alt = (
        f"{len(rows)} values of {aim.outcome} as expected when proposed and as measured; {inside} "
        "lie in the model's 95 % intervals (noise of the measurement not counted)."
    )
    return _against(
        f"{aim.outcome} expected when proposed", aim.outcome, alt,
        [(t.id, mean, 1.96 * std, y) for t, mean, std, y in rows],
    )  # fmt: skip


def leave_one_out(campaign: Campaign, outcome: str | None = None) -> go.Figure | None:
    """Each value against what the model expects of it when it is left out."""
    aim, view = _aim(campaign, outcome), campaign._view()
    beliefs = campaign._beliefs(view)
    if beliefs is None:
        return None
    model, i = checks._parts(beliefs.model, beliefs.outcomes.index(aim.outcome))
    mean, z = (found[:, i] for found in checks._leave_one_out(model))
    y = model.Y[:, i]
    if len(y) < 4:
        return None
    std = torch.where(z.abs() > 1e-12, (y - mean) / z, torch.zeros_like(y)).abs()
    inside = int((z.abs() <= 1.96).sum())
    alt = (
        f"{len(y)} values of {aim.outcome} against what the model expects of each when it is left "
        f"out; {inside} lie in the 95 % intervals."
    )
    rows = [
        (None, m, 1.96 * s, v)
        for m, s, v in zip(mean.tolist(), std.tolist(), y.tolist(), strict=True)
    ]
    return _against(f"{aim.outcome} expected from the others", aim.outcome, alt, rows)


def _against(
    expected: str, measured: str, alt: str, rows: Sequence[tuple[int | None, float, float, float]]
) -> go.Figure:
    """Measured values over expected ones with their intervals, and the line of agreement."""
    figure = _figure(plain_text(expected), plain_text(f"{measured} measured"), alt)
    ends = [v for _, mean, _, y in rows for v in (mean, y)]
    low, high = min(ends), max(ends)
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", line={"color": GREY, "dash": "dash"},
        name="agreement", hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=[mean for _, mean, _, _ in rows],
        y=[y for *_, y in rows],
        mode="markers",
        marker={"color": BLUE, "size": 8},
        error_x={
            "type": "data",
            "array": [w for _, _, w, _ in rows],
            "color": BLUE,
            "thickness": 1,
        },
        name="with 95 % interval",
        customdata=["" if i is None else f"trial {i}: " for i, *_ in rows],
        hovertemplate="%{customdata}expected %{x:.5g}, measured %{y:.5g}<extra></extra>",
    )
    return figure


# ---------------------------------------------------------------- what the model believes


def best_point(campaign: Campaign, outcome: str | None = None) -> dict[str, Value] | None:
    """The best setting of an objective that keeps all limits, as the present space has it."""
    aim, view = _aim(campaign, outcome), campaign._view()
    good = tables.feasible(view)
    found = max(good, key=lambda t: aim.sign * tables.values(t)[aim.outcome], default=None)
    if found is None:
        return None
    point = campaign._encoding(view).point(found.parameters, found.revision)
    names = view.revision.space.names
    return {name: point[name] for name in names} if set(names) <= set(point) else None


def _predicted(
    campaign: Campaign, points: Sequence[Mapping[str, Value]], outcome: str
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation at some settings."""
    found = campaign.predict(list(points))
    return [p[outcome].mean for p in found], [p[outcome].std for p in found]


def _levels(parameter: Parameter, count: int) -> list[Value]:
    """Values along an axis, evenly on its own scale."""
    if isinstance(parameter, Categorical):
        return list(parameter.values)
    shares = torch.linspace(0, 1, count, dtype=torch.float64).tolist()
    return list(dict.fromkeys(at_share(parameter, share) for share in shares))


def slice_through(
    campaign: Campaign, parameter: str, outcome: str | None = None
) -> go.Figure | None:
    """What the model expects along one parameter, the others held where the best trial has them."""
    aim, p = _aim(campaign, outcome), campaign.space[parameter]
    best = best_point(campaign, aim.outcome)
    if best is None:
        return None
    values = _levels(p, _POINTS)
    points = [{**best, p.name: v} for v in values]
    try:
        mean, std = _predicted(campaign, points, aim.outcome)
    except NotFittedError:
        return None
    low = [m - 1.96 * s for m, s in zip(mean, std, strict=True)]
    high = [m + 1.96 * s for m, s in zip(mean, std, strict=True)]
    at = max(range(len(mean)), key=lambda i: aim.sign * mean[i])
    alt = (
        f"Expected {aim.outcome} along {p.name}, the other parameters as in the best trial: from "
        f"{min(mean):.4g} to {max(mean):.4g}, the best near {_short(values[at])}."
    )
    figure = _figure(titled(p), plain_text(aim.outcome), alt, showlegend=False)
    figure.update_layout(height=270)
    if isinstance(p, Categorical):
        bars = [1.96 * s for s in std]
        figure.add_scatter(
            x=[plain_text(v) for v in values], y=mean, mode="markers",
            marker={"color": BLUE, "size": 10}, error_y={"type": "data", "array": bars},
            hovertemplate="%{x}: %{y:.5g}<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(type="category")
    else:
        figure.add_scatter(
            x=[*values, *values[::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines",
            fillcolor="rgba(0,114,178,0.2)", line={"width": 0}, hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=values, y=mean, mode="lines", line={"color": BLUE, "width": 2}, customdata=std,
            hovertemplate="%{x:.5g}: %{y:.5g} ± %{customdata:.2g}<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(type="log" if getattr(p, "log", False) else "linear")
    if not isinstance(p, Categorical):
        figure.add_vline(x=best[p.name], line={"color": RED, "dash": "dot", "width": 1.5})
    return figure


def feasibility(campaign: Campaign, parameter: str) -> go.Figure | None:
    """How probable it is that a trial works and keeps all limits, along one parameter.

    The other parameters are as in the best trial; the probabilities of the limits and of success
    are multiplied. None where there are neither limits nor failures.
    """
    view, p = campaign._view(), campaign.space[parameter]
    best, beliefs = best_point(campaign), campaign._beliefs(view)
    limits = view.revision.goals.limits
    if best is None or beliefs is None or not (limits or beliefs.success is not None):
        return None
    base = baseline_of(campaign.trials)
    values = _levels(p, _POINTS)
    X = campaign.space.encode([{**best, p.name: v} for v in values], allow_outside=True)
    with torch.no_grad():
        log_p = beliefs.log_success(X.unsqueeze(-2))
    found = beliefs.predict(X)
    for limit in limits:
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in found[limit.outcome])
        z = (limit.bound(base.get(limit.outcome)) - mean) / std.clamp_min(1e-12)
        log_p = log_p + log_ndtr(z if limit.upper else -z)
    share = log_p.exp().tolist()
    alt = (
        f"Probability that a trial works and keeps all limits, along {p.name}: from "
        f"{min(share):.0%} to {max(share):.0%}."
    )
    figure = _figure(titled(p), "probability", alt, showlegend=False)
    labels = isinstance(p, Categorical)
    figure.add_scatter(
        x=[plain_text(v) for v in values] if labels else values,
        y=share,
        mode="markers" if labels else "lines",
        line={"color": GREEN, "width": 2},
        marker={"color": GREEN, "size": 10},
        hovertemplate="%{x}: %{y:.0%}<extra></extra>",
    )
    log = getattr(p, "log", False)
    figure.update_xaxes(type="category" if labels else "log" if log else "linear")
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    figure.update_layout(height=270)
    return figure


def pair_map(
    campaign: Campaign, across: str, up: str, outcome: str | None = None
) -> go.Figure | None:
    """What the model expects over two numeric parameters, the others as in the best trial.

    Places that break a constraint of the space are left blank.

    Raises:
        DataError: a parameter that has labels.
    """
    aim, space = _aim(campaign, outcome), campaign.space
    x, y = space[across], space[up]
    if isinstance(x, Categorical) or isinstance(y, Categorical):
        raise DataError("pair_map: expected two numeric parameters; see slice_through for labels")
    best = best_point(campaign, aim.outcome)
    if best is None:
        return None
    xs, ys = _levels(x, _GRID), _levels(y, _GRID)
    points: list[dict[str, Value]] = [{**best, x.name: a, y.name: b} for b in ys for a in xs]
    try:
        mean, _ = _predicted(campaign, points, aim.outcome)
    except NotFittedError:
        return None
    legal = [not space.complaints(point) for point in points]
    z = [m if ok else None for m, ok in zip(mean, legal, strict=True)]
    rows = [z[i * len(xs) : (i + 1) * len(xs)] for i in range(len(ys))]
    shown = [m for m in z if m is not None]
    if not shown:
        return None
    alt = (
        f"A map of the expected {aim.outcome} over {x.name} and {y.name}, the others as in the "
        f"best trial: from {min(shown):.4g} to {max(shown):.4g}; crosses are trials."
    )
    figure = _figure(titled(x), titled(y), alt, showlegend=False)
    figure.add_heatmap(
        x=xs, y=ys, z=rows, colorscale="Cividis", zsmooth=False,
        colorbar={"title": {"text": plain_text(aim.outcome)}, "thickness": 12},
        hovertemplate=f"{titled(x)} %{{x:.5g}}, {titled(y)} %{{y:.5g}}: %{{z:.5g}}<extra></extra>",
    )  # fmt: skip
    known = [t for t in campaign.trials if aim.outcome in tables.values(t)]
    known = [t for t in known if {x.name, y.name} <= set(t.parameters)]
    figure.add_scatter(
        x=[t.parameters[x.name] for t in known], y=[t.parameters[y.name] for t in known],
        mode="markers",
        marker={"symbol": "x-thin", "size": 8, "line": {"color": "#fff", "width": 2}},
        customdata=[f"trial {t.id}: {tables.values(t)[aim.outcome]:.5g}" for t in known],
        hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[best[x.name]], y=[best[y.name]], mode="markers", hoverinfo="skip",
        marker={"symbol": "star", "size": 15, "color": RED, "line": {"color": "#fff", "width": 1}},
    )  # fmt: skip
    figure.update_xaxes(type="log" if getattr(x, "log", False) else "linear")
    figure.update_yaxes(type="log" if getattr(y, "log", False) else "linear")
    return figure


def sensitivity(
    campaign: Campaign,
    outcome: str | None = None,
    *,
    found: Mapping[str, Sensitivity] | None = None,
    seed: int = 0,
) -> go.Figure | None:
    """Which parameters matter: Sobol indices of what the model expects, with 95 % intervals.

    Args:
        campaign: which.
        outcome: an objective; the first without one.
        found: what `sobol_indices` gave, if that is known already.
        seed: else of its samples.
    """
    aim = _aim(campaign, outcome)
    if found is None:
        found = sobol_indices(campaign, aim.outcome, seed=seed)
    if found is None:
        return None
    order = sorted(found, key=lambda name: found[name].total)
    lead = ", ".join(f"{name} {found[name].total:.0%}" for name in reversed(order[-3:]))
    alt = f"Share of the variation of the expected {aim.outcome} in which parameters have a part: "
    alt += f"{lead}."
    figure = _figure("share of the variation", "", alt, barmode="group")
    for label, colour, kind in (("alone", GREEN, "first"), ("with others", BLUE, "total")):
        value = [getattr(found[n], kind) for n in order]
        ends = [getattr(found[n], f"{kind}_interval") for n in order]
        figure.add_bar(
            y=[plain_text(n) for n in order], x=value, orientation="h", name=label,
            marker={"color": colour},
            error_x={
                "type": "data", "symmetric": False, "color": GREY,
                "array": [max(0.0, b - v) for v, (_, b) in zip(value, ends, strict=True)],
                "arrayminus": [max(0.0, v - a) for v, (a, _) in zip(value, ends, strict=True)],
            },
            hovertemplate="%{y}, " + label + ": %{x:.0%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(tickformat=".0%")
    figure.update_layout(height=120 + 44 * len(order), margin={"l": 20})
    return figure


def numeric(space: Space) -> list[str]:
    """Parameters that are numbers."""
    return [p.name for p in space if not isinstance(p, Categorical)]
