"""Is the model to be trusted, is it time to stop, should a trial go on.

Taught in part_5/tutorial_04.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..models.exact import ExactGP
from ..space.parameters import Categorical
from . import tables
from .acquisitions import baseline_of
from .beliefs import Beliefs, Encoder, counted
from .budget import left
from .trial import Trial
from .values import Measured
from .writer import Snapshot

_FEW = 10  # outcomes below which no model is to be trusted
_PROMISE = 1e-3  # of the range of the values: an expected improvement below is nothing
_IN_A_ROW = 3
_EXACT = 0.99  # share of the variance explained beyond which a wrong width matters little
_EDGE = 0.01  # of an axis
_OTHERS = 5  # trials that must have reported before one is stopped


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        level: "ok", "note" or "warning".
        message: what was found.
        advice: what to do about it; empty if nothing.
    """

    name: str
    level: str
    message: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.level:>7}  {self.name}: {self.message}" + (
            f"; {self.advice}" if self.advice else ""
        )


def health(view: Snapshot, encoder: Encoder, beliefs: Beliefs | None) -> list[Check]:
    """All checks; `beliefs` is None while there are too few values for a model."""
    found = [*_data_checks(view), *_trial_checks(view)]
    if beliefs is not None:
        for i, name in enumerate(beliefs.outcomes):
            found += _model_checks(name, *_parts(beliefs.model, i))
        found += _edge_checks(view, encoder)
    return found


def _data_checks(view: Snapshot) -> list[Check]:
    """How many values there are, and whether they vary."""
    goals, trials, found = view.revision.goals, list(view.trials.values()), []
    for name in goals.outcomes:
        values = [m.mean for t in trials if (m := counted(t).get(name)) is not None]
        least = max(_FEW, 2 * len(view.revision.space))
        few = len(values) < least
        found.append(
            Check(
                f"data of {name}",
                "warning" if few else "ok",
                f"{len(values)} values" + (f", fewer than {least}" if few else ""),
                "take predictions for guesses until there are more" if few else "",
            )
        )
        if len(values) > 1 and max(values) == min(values):
            text = f"all {len(values)} values are {values[0]:g}"
            advice = "look at the measurement, or at whether the space reaches far enough"
            found.append(Check(f"variation of {name}", "warning", text, advice))
    if goals.limits and not tables.feasible(view):
        told = [t for t in trials if all(n in counted(t) for n in goals.outcomes)]
        if told:
            text = f"none of {len(told)} trials keeps {' and '.join(map(str, goals.limits))}"
            advice = "go on: proposals look for one; or loosen a limit by change(goals=...)"
            found.append(Check("feasible trials", "warning", text, advice))
    return found


def _trial_checks(view: Snapshot) -> list[Check]:
    """Failures, and whether the baseline stays what it was."""
    trials, found = [view.trials[i] for i in sorted(view.trials)], []
    ended = [t for t in trials if t.state in ("completed", "failed")]
    failed = sum(t.state == "failed" for t in ended)
    if failed:
        many = failed > len(ended) / 4
        text, advice = f"{failed} of {len(ended)} trials failed", ""
        if many:
            advice = "see their reasons: is there a corner of the space that should be left out?"
        found.append(Check("failures", "warning" if many else "note", text, advice))
    repeats = [t for t in trials if t.baseline]
    for name in baseline_of(trials):
        series = [m for t in repeats if (m := counted(t).get(name)) is not None]
        if len(series) > 1:
            found.append(_drift(name, series))
    return found


def _drift(name: str, series: Sequence[Measured]) -> Check:
    """Whether repeated measurements of the baseline go one way."""
    values = [m.mean for m in series]
    shown = ", ".join(f"{v:g}" for v in values)
    steps = [b - a for a, b in itertools.pairwise(values)]
    one_way = len(values) > 3 and (min(steps) > 0 or max(steps) < 0)
    advice = "something changes with time: randomise the order, add the day as a parameter"
    level = "warning" if one_way else "ok"
    return Check(f"baseline of {name}", level, f"measured as {shown}", advice if one_way else "")


def _parts(model: Any, i: int) -> tuple[ExactGP, int]:
    """The model of output i, and its index there."""
    if isinstance(model, ExactGP):
        return model, i
    return model.models[i], 0


def _model_checks(name: str, model: ExactGP, i: int) -> list[Check]:
    """Leave-one-out: does the model predict, and is it as sure as it should be?"""
    loo = _leave_one_out(model)
    y, mean, z = model.Y[:, i], loo[0][:, i], loo[1][:, i]
    n, found = len(y), list[Check]()
    if n < 4 or y.max() == y.min():
        return found
    spread = (y - y.mean()).square().mean()
    explained = 1 - ((y - mean).square().mean() / spread).item()
    r = torch.corrcoef(torch.stack([y, mean]))[0, 1].item()
    # Fisher's z: is the correlation of held-out predictions with the values above 0 at 5 %?
    sure = math.isfinite(r) and math.atanh(max(min(r, 0.999999), -1)) * math.sqrt(n - 3) > 1.645
    text = f"held-out predictions explain {max(explained, 0.0):.0%} of the variance (n = {n})"
    advice = "the model knows nothing yet: repeat a trial to see the noise, look at the units"
    level = "ok" if sure and explained > 0 else "warning"
    found.append(Check(f"model of {name}", level, text, advice if level == "warning" else ""))
    inside = (z.abs() <= 1.645).double().mean().item()
    slack = 3 * math.sqrt(0.9 * 0.1 / n)
    text = f"{inside:.0%} of held-out values lie in their 90 % intervals"
    level, advice = "ok", ""
    if inside < 0.9 - slack:
        small = explained > _EXACT
        level = "note" if small else "warning"
        advice = "the model is too sure: outliers? exclude(...) what is wrong, repeat what is not"
        advice = "its errors are small, though: below a tenth of the spread" if small else advice
    found.append(Check(f"calibration of {name}", level, text, advice))
    return found


def _leave_one_out(model: ExactGP) -> tuple[torch.Tensor, torch.Tensor]:
    """Held-out means and standardised residuals, in closed form (R&W 2006, 5.10 to 5.12)."""
    factor = model.factor()
    shape = (model.num_outputs, model.X.shape[-2])
    scale = model.outcome.scale.mT
    precision = factor.inverse.square().sum(-2).view(shape) / scale.square()
    residual = factor.weights.view(shape) / precision
    z = residual * precision.sqrt() / scale
    return (model.Y.mT - residual).mT.detach(), z.mT.detach()


def _edge_checks(view: Snapshot, encoder: Encoder) -> list[Check]:
    """Whether the best trial lies at the end of an axis."""
    goals = view.revision.goals
    good = tables.feasible(view)
    if len(goals.objectives) > 1 or not good:
        return []
    aim = goals.objectives[0]
    best = max(good, key=lambda t: aim.sign * tables.values(t)[aim.outcome])
    code = encoder.code(best)
    if code is None:
        return []
    space, ends = view.revision.space, []
    for p in space:
        if isinstance(p, Categorical):
            continue
        u = code[space.columns[p.name][0]].item()
        if u <= _EDGE or u >= 1 - _EDGE:
            ends.append(f"{p.name} = {best.parameters.get(p.name, p.low)}")
    if not ends:
        return [Check("place of the best", "ok", "within the limits of all parameters")]
    advice = "if more is possible there, widen the space by change(space=...)"
    return [
        Check("place of the best", "note", f"at a limit of the space: {', '.join(ends)}", advice)
    ]


def stop_reason(view: Snapshot, *, deterministic: bool) -> str | None:
    """Why there is nothing more to do; None if there is.

    The budget; a finite space of exact values that is exhausted; or, of one objective, the last
    three proposals of the model promised an expected improvement below a thousandth of the range of
    the values.
    """
    _, why = left(view)
    if why is not None:
        return why
    space = view.revision.space
    if deterministic and space.lattice.discrete.all():
        seen = {tuple(t.parameters.items()) for t in view.trials.values() if not t.pending}
        if len(seen) >= space.num_designs:
            return f"all {space.num_designs} points of the space were measured"
    return _no_promise(view)


def _no_promise(view: Snapshot) -> str | None:
    goals = view.revision.goals
    trials = [view.trials[i] for i in sorted(view.trials)]
    last = [t for t in trials if t.origin == "model"][-_IN_A_ROW:]
    recent = [t for t in last if t.revision == view.revision.number and t.proposal is not None]
    told = [m for t in trials if (m := counted(t).get(goals.objectives[0].outcome)) is not None]
    if len(goals.objectives) > 1 or len(recent) < _IN_A_ROW:
        return None
    if len(told) < 2 or any(t.pending for t in recent):
        return None
    values = [m.mean for m in told]
    wide = max(values) - min(values)
    promised = [math.exp(min((t.proposal or {})["acquisition"], 700.0)) for t in recent]
    if wide <= 0 or max(promised) > _PROMISE * wide:
        return None
    return (
        f"the last {_IN_A_ROW} proposals promised an improvement of at most {max(promised):.2g}, "
        f"less than {_PROMISE:.1%} of the range of the values"
    )


def should_stop(view: Snapshot, trial: Trial, step: float, found: dict[str, Measured]) -> bool:
    """The median rule: whether a trial is behind the median of the others at the same step.

    Of the first objective, with at least five others that have reported there.

    Source: after Golovin et al., "Google Vizier: a service for black-box optimization", KDD 2017,
    which compares with running averages.
    """
    aim = view.revision.goals.objectives[0]
    if aim.outcome not in found:
        return False
    others = sorted(
        aim.sign * values[aim.outcome].mean
        for t in view.trials.values()
        if t.id != trial.id and not t.excluded
        for s, values in t.reports
        if s == step and aim.outcome in values
    )
    if len(others) < _OTHERS:
        return False
    middle = len(others) // 2
    median = others[middle] if len(others) % 2 else (others[middle - 1] + others[middle]) / 2
    return aim.sign * found[aim.outcome].mean < median


def enough_for_model(view: Snapshot) -> bool:
    """Whether every outcome of the goals has two values."""
    trials = list(view.trials.values())
    names = view.revision.goals.outcomes
    return all(sum(n in counted(t) for t in trials) >= 2 for n in names)
