"""Whether anything is legal at all, and if not, what contradicts what.

Taught in part_5/tutorial_03.
"""

from collections.abc import Callable, Sequence

from ..errors import InfeasibleError
from .lattice import Lattice
from .parameters import Categorical, Parameter, short
from .text import LinearConstraint


def check_feasible(
    parameters: Sequence[Parameter],
    constraints: Sequence[LinearConstraint],
    lattice: Lattice,
    fixed: Sequence[str] = (),
) -> None:
    """Refuse constraints that no legal point meets.

    Args:
        parameters: those of the space.
        constraints: those of the space.
        lattice: both as arrays, perhaps with limits of its own for what is fixed.
        fixed: the names of what is fixed.

    Raises:
        InfeasibleError: the smallest set of constraints that contradict each other, the limits
            and, if real numbers could meet them, the steps.
    """
    if _possible(lattice):
        return
    everything = list(range(len(constraints)))
    real = not _possible(lattice, relaxed=True)
    rows = _smallest(everything, lambda some: _possible(lattice.subset(some), relaxed=real))
    texts = [f"'{constraints[i]}'" for i in rows]
    together = " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]
    verb = "contradict each other" if len(texts) > 1 else "cannot be met"
    names = {name for i in rows for name in constraints[i].names}
    where = "; ".join(
        f"{p.name} {_range(p, lattice, k)}" for k, p in enumerate(parameters) if p.name in names
    )
    held = [name for name in fixed if name in names]
    if real:
        way = "loosen a constraint, or widen the limits"
        way = f"free {held[0]!r}, or loosen a constraint" if held else way
        raise InfeasibleError(f"constraints: {together} {verb} with {where}; {way}")
    raise InfeasibleError(
        f"constraints: {together} {verb} on these steps: {where}; real numbers could meet "
        f"{'them' if len(rows) > 1 else 'it'}. Choose steps that divide the totals, or leave the "
        "step of one parameter out"
    )


def _possible(lattice: Lattice, relaxed: bool = False) -> bool:
    """Whether the rows can be met."""
    if not relaxed and bool((lattice.low > lattice.high).any()):
        return False  # a total that lies between the sums of whole steps
    if relaxed:
        lattice = lattice.real()
    return lattice.solved() is not None


def _smallest(rows: list[int], possible: Callable[[list[int]], bool]) -> list[int]:
    """Rows that cannot be met, but could without any one of them."""
    for i in list(rows):
        rest = [j for j in rows if j != i]
        if not possible(rest):
            rows = rest
    return rows


def _range(p: Parameter, lattice: Lattice, k: int) -> str:
    """What a parameter may be, in words."""
    assert not isinstance(p, Categorical)
    if lattice.lower[k] == lattice.upper[k]:
        return f"fixed at {p.value(float(lattice.lower[k]))}"
    return f"in [{short(p.low)}, {short(p.high)}]" + (
        f" in steps of {short(p.step)}" if p.step is not None else ""
    )
