"""Trials as tables, and which of them are good.

Taught in part_5/tutorial_04.
"""

from typing import Any

from .acquisitions import baseline_of
from .beliefs import counted
from .trial import Trial
from .writer import Snapshot


def values(trial: Trial) -> dict[str, float]:
    """The outcomes of a trial that count, as means of repeats."""
    return {name: m.mean for name, m in counted(trial).items()}


def feasible(view: Snapshot) -> list[Trial]:
    """Completed trials with all objectives that keep all limits, in order."""
    goals = view.revision.goals
    trials = [view.trials[i] for i in sorted(view.trials)]
    baseline = baseline_of(trials)
    needs = any(limit.relative and limit.outcome not in baseline for limit in goals.limits)
    good = []
    for t in trials:
        found = values(t)
        if (
            t.state in ("completed", "running")
            and all(o.outcome in found for o in goals.objectives)
            and not needs
            and not goals.broken(found, baseline)
        ):
            good.append(t)
    return good


def pareto(view: Snapshot) -> list[Trial]:
    """Feasible trials that no other dominates, in order; of equal ones the first."""
    aims, good = view.revision.goals.objectives, feasible(view)
    points = [tuple(o.sign * values(t)[o.outcome] for o in aims) for t in good]
    kept = []
    for i, (t, p) in enumerate(zip(good, points, strict=True)):
        beaten = any(
            all(a >= b for a, b in zip(q, p, strict=True)) and (q != p or j < i)
            for j, q in enumerate(points)
            if j != i
        )
        if not beaten:
            kept.append(t)
    return kept


def table(view: Snapshot) -> Any:
    """A pandas table with a row for each trial, parameters in the units of the present space."""
    import pandas as pd  # slow to load

    trials = [view.trials[i] for i in sorted(view.trials)]
    rows = []
    for t in trials:
        row: dict[str, Any] = {"trial": t.id, "state": t.state}
        row |= t.parameters
        if t.used is not None:
            row |= {f"{k} (asked)": v for k, v in t.asked.items() if v != t.used.get(k)}
        for name, m in t.measured.items():
            row[name] = m.mean
            if m.sem is not None:
                row[f"{name} (sem)"] = m.sem
            if len(m.values) > 1:
                row[f"{name} (repeats)"] = len(m.values)
        more = {
            "spent": t.spent,
            "label": t.label,
            "origin": t.origin,
            "excluded": t.excluded or None,
            "baseline": t.baseline or None,
            "reason": t.reason,
            "note": t.note,
        }
        rows.append(row | {k: v for k, v in more.items() if v is not None})
    space = view.revision.space
    heads = ["trial", "state", *space.names, *view.revision.goals.outcomes]
    found = list(dict.fromkeys([*heads, *(k for row in rows for k in row)]))
    return pd.DataFrame(rows, columns=_sorted(found, space.names)).set_index("trial")


def _sorted(names: list[str], parameters: tuple[str, ...]) -> list[str]:
    """Each derived column, such as "temperature (asked)", behind what it belongs to."""
    order: list[str] = []
    for name in names:
        base = name.rsplit(" (", 1)[0]
        if base != name and base in order:
            at = max(i for i, n in enumerate(order) if n == base or n.startswith(f"{base} ("))
            order.insert(at + 1, name)
        elif name not in order:
            order.append(name)
    return order
