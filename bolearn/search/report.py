"""What a search found, and what each of its restarts reached.

Taught in part_4/tutorial_02.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SearchReport:
    """What each restart reached.

    Attributes:
        start_values: acquisition values where the restarts began, ``restarts *r``.
        values: where they ended or were given up, ``restarts *r``.
        converged: whether they met a convergence test, ``restarts *r``; those given up in favour
            of a rival did not, see ``messages``.
        iterations: accepted steps, ``restarts *r``.
        violation: largest violated input constraint at the ends ``restarts *r``, as a distance in
            the unit cube; zeros without constraints.
        evaluations: batched evaluations of value and gradient.
        messages: the verdicts that occurred, with how often.
        halvings: how often memory ran out and the batch was cut in half.
        redrawn: how often raw candidates were redrawn because all had one value.
    """

    start_values: Float[Tensor, "restarts *r"]
    values: Float[Tensor, "restarts *r"]
    converged: Bool[Tensor, "restarts *r"]
    iterations: Int[Tensor, "restarts *r"]
    violation: Float[Tensor, "restarts *r"]
    evaluations: int
    messages: dict[str, int]
    halvings: int = 0
    redrawn: int = 0

    def __str__(self) -> str:
        best = self.values.nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(0)
        close = (self.values >= best - 1e-4 * best.abs().clamp(min=1)).sum(0).double()
        lines = [
            f"{len(self.values)} restarts"
            + (f" in each of {best.numel()} replicates" if best.ndim else "")
            + f", {self.evaluations} batched evaluations",
            f"best value {_range(best)}, reached by {_range(close)} restarts",
            f"values of restarts {_range(self.values)}, from {_range(self.start_values)}",
        ]
        lines += [f"{count} x {text}" for text, count in self.messages.items()]
        if (self.violation > 0).any():
            lines.append(f"constraints met to {self.violation.max().item():.1e} of the box")
        if self.halvings:
            lines.append(f"memory ran out: the batch was halved {self.halvings} times")
        if self.redrawn:
            lines.append(f"raw candidates had one value: redrawn {self.redrawn} times")
        return "\n".join(lines)


def _range(values: Tensor) -> str:
    """One number, or the smallest and the largest of several."""
    low, high = values.min().item(), values.max().item()
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Where an acquisition is highest; unpacks as ``x, value``.

    Attributes:
        x: points ``*r q d`` in user units.
        value: acquisition value ``*r``; for sequential choice, of the last point given the others.
        report: what each restart reached (of the last point, if chosen sequentially).
        index: which of the choices the points are, ``*r q``; None for a search in a box.
    """

    x: Float[Tensor, "*r q d"]
    value: Float[Tensor, "*r"]
    report: SearchReport
    index: Int[Tensor, "*r q"] | None = None

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x, self.value))
