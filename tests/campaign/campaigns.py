"""What the tests of campaigns share: a small reaction, and its outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bolearn as bl

POINT = {"A": 0.5, "B": 0.5, "temperature": 60.0, "cycles": 2, "solvent": "THF"}


def reaction(**other: Any) -> bl.Space:
    """Fractions with a constraint, a dial with steps, a whole number, a label."""
    return bl.Space(
        [
            bl.Real("A", 0, 1, step=0.01),
            bl.Real("B", 0, 1, step=0.01),
            bl.Real("temperature", 20, 90, unit="°C", step=0.5),
            bl.Integer("cycles", 1, 8),
            bl.Categorical("solvent", ["MeOH", "THF", "MeCN"]),
        ],
        constraints=["A + B <= 1"],
        **other,
    )


def measured(p: dict[str, Any]) -> dict[str, float]:
    """A yield with its best at 64 °C in THF, and a cost."""
    heat = ((p["temperature"] - 64) / 10) ** 2
    solvent = {"MeOH": 0.0, "THF": 4.0, "MeCN": 1.0}[p["solvent"]]
    return {"yield": 60 - heat + 10 * p["A"] + solvent, "cost": 2 + 3 * p["B"] + 0.2 * p["cycles"]}


def make(where: Path | str | None = None, **options: Any) -> bl.Campaign:
    """A campaign for the yield alone that needs no model, unless told otherwise."""
    how: dict[str, Any] = {"goals": ["maximize yield"], "seed": 7, "strategy": "sobol", **options}
    space = how.pop("space", None) or reaction()
    return bl.Campaign.create(where, space, how.pop("goals"), **how)


def play(c: bl.Campaign, rounds: int) -> list[dict[str, Any]]:
    """Ask and tell, one after the other; what was proposed."""
    points = []
    for _ in range(rounds):
        (t,) = c.ask()
        found = measured(t.parameters)
        c.tell(t.id, {name: found[name] for name in c.outcomes})
        points.append(t.parameters)
    return points
