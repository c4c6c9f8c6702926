"""Why a point was proposed: what was believed when it was, which later data do not change.

Taught in part_5/tutorial_04.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import DataError
from .goals import Goals
from .trial import Trial

_WIDTH = 1.959963984540054  # standard normal: a central interval of 95 %


@dataclass(frozen=True)
class Prediction:
    """A belief about one outcome: mean, standard deviation, and an interval of 95 %.

    It is about the outcome itself; a measurement has its noise on top.
    """

    mean: float
    std: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - _WIDTH * self.std

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + _WIDTH * self.std

    def __str__(self) -> str:
        return f"{self.mean:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True)
class Explanation:
    """Why a trial was proposed.

    Attributes:
        trial: its number.
        rule: how it was chosen, in words.
        kind: "explore" where the belief promised no more than the best so far and the point was
            chosen for what is not known of it, "exploit" where it promised more, "design" where no
            model was asked.
        predicted: belief about each outcome at that time.
        best: the best value then.
        acquisition: logarithm of the expected improvement, probabilities included.
        success: probability that the trial works, if failures had been seen.
        nearest: the nearest trial that had been evaluated.
        distance: how far it is, in the unit cube of the model.
        told: how many trials the model knew.
    """

    trial: int
    rule: str
    kind: str
    predicted: Mapping[str, Prediction] = field(default_factory=dict)
    best: float | None = None
    acquisition: float | None = None
    success: float | None = None
    nearest: int | None = None
    distance: float | None = None
    told: int | None = None

    def __str__(self) -> str:
        lines = [f"trial {self.trial} ({self.kind}): {self.rule}"]
        lines += [f"  expected {name}: {p}" for name, p in self.predicted.items()]
        if self.best is not None:
            lines.append(f"  best so far: {self.best:.4g}")
        if self.success is not None:
            lines.append(f"  works with probability {self.success:.2f}")
        if self.nearest is not None:
            lines.append(f"  nearest: trial {self.nearest}, at distance {self.distance:.3g}")
        return "\n".join(lines)


def explained(trial: Trial, goals: Goals) -> Explanation:
    """The explanation that was stored when a trial was proposed.

    Raises:
        DataError: it was added, not proposed.
    """
    found = trial.proposal
    if found is None:
        raise DataError(
            f"explain: trial {trial.id} was added by a person, not proposed; see its note, or the "
            "history"
        )
    predicted = {
        name: Prediction(p["mean"], p["std"]) for name, p in found.get("predicted", {}).items()
    }
    aim, best, kind = goals.objectives[0], found.get("best"), "design"
    if aim.outcome in predicted:
        promised = best is None or aim.sign * (predicted[aim.outcome].mean - best) > 0
        kind = "exploit" if promised else "explore"
    elif trial.origin == "strategy":
        kind = "strategy"
    return Explanation(
        trial.id,
        found["rule"],
        kind,
        predicted,
        best,
        found.get("acquisition"),
        found.get("success"),
        found.get("nearest"),
        found.get("distance"),
        found.get("told"),
    )
