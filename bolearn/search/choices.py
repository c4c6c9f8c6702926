"""Maximise an acquisition over a finite set: look at every choice, no derivative needed.

Tables of materials, candidates of a library, a surrogate that knows no derivative (a forest): where
the points to choose from can be listed, the best of them is found exactly.

Taught in part_5/tutorial_03.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import DataError, OptimizationError, ShapeError, UnsupportedError
from ..protocols import Acquisition, has_training_data
from ..shapes import check_tensor
from ..transforms import UnitCube
from .batches import UnitAcquisition
from .report import Candidates, SearchReport


def check_either(
    bounds: object,
    choices: object,
    fixed: object = None,
    input_constraints: object = (),
    space: object = None,
    exclude: object = None,
) -> None:
    """Check that a search has a box, a finite set or a space, and limits only where they belong.

    Raises:
        DataError: several or none; fixed inputs or input constraints together with choices; input
            constraints or choices together with a space; excluded points without one.
    """
    if space is not None:
        for name, given in (("choices", choices), ("input_constraints", input_constraints)):
            if given is not None and given != ():
                raise DataError(
                    f"{name}: expected none beside space=; constraints belong to the space: "
                    "Space(parameters, constraints=['A + B <= 1'])"
                )
        return
    if exclude is not None:
        raise DataError(
            "exclude: expected a space beside it, got none; of a finite set, leave the points out "
            "of choices="
        )
    if bounds is None and choices is None:
        raise DataError(
            "bounds: expected a float64 tensor 2 d, or a finite set to choose from, choices= "
            "(n d), got NoneType for both"
        )
    if bounds is not None and choices is not None:
        raise DataError("bounds and choices: expected one of them, got both; leave one out")
    for name, given in (("fixed", fixed), ("input_constraints", input_constraints)):
        if choices is not None and given is not None and given != ():
            raise DataError(
                f"{name}: expected none beside choices=; leave out the choices that do not meet it"
            )


def check_choices(choices: object, r: tuple[int, ...], q: int) -> Float[Tensor, "*c n d"]:
    """Check a finite set to choose q points from, ``n d`` or ``*r n d``.

    Raises:
        DataError: not finite float64, or fewer choices than q.
        ShapeError: choices that do not fit the replicates.
    """
    X = check_tensor("choices", choices)
    if X.ndim < 2 or X.shape[-2] < q or X.shape[-1] < 1:
        raise DataError(
            f"choices: expected n d with n >= q = {q} points to choose from, got {tuple(X.shape)}"
        )
    if tuple(X.shape[:-2]) not in ((), r):
        raise ShapeError(f"choices: expected n d or {(*r, 'n', 'd')}, got {tuple(X.shape)}")
    return X


def best_choices(
    acq: Acquisition, choices: Float[Tensor, "*c n d"], q: int, r: tuple[int, ...]
) -> Candidates:
    """The q best of finitely many points, one after the other, each given those before.

    Raises:
        DataError: fewer than q choices that are not pending.
        OptimizationError: the acquisition is finite at none of the choices left.
        ShapeError: choices with another number of inputs than the model's.
        UnsupportedError: q > 1 and an acquisition without ``with_pending``.
    """
    given: Any = acq
    if q > 1 and not callable(getattr(acq, "with_pending", None)):
        raise UnsupportedError(
            f"choices: expected an acquisition with with_pending(X) for q = {q}, got "
            f"{type(acq).__name__}; use qLogExpectedImprovement, or thompson(model, choices=X)"
        )
    model: Any = getattr(acq, "model", None)
    if has_training_data(model) and choices.shape[-1] != model.X.shape[-1]:
        raise ShapeError(
            f"choices: the model has {model.X.shape[-1]} inputs, got choices of shape "
            f"{tuple(choices.shape)}"
        )
    X = choices.expand(*r, *choices.shape[-2:])
    cube = UnitCube(torch.stack([choices.amin(-2), choices.amax(-2)], dim=-2))
    free = ~_pending(acq, X)
    if int(free.sum(-1).min()) < q:
        raise DataError(
            f"choices: expected at least q = {q} that are not pending, got "
            f"{int(free.sum(-1).min())} of {X.shape[-2]}"
        )
    points = X.movedim(-2, 0).unsqueeze(-2)  # n *r 1 d
    picked, values = [], X.new_zeros(0)
    for i in range(q):
        look = UnitAcquisition(given, cube, 1, r)
        values = look.among(points).reshape(len(points), *r)
        values = torch.where(free.movedim(-1, 0), values, torch.nan)
        rank = values.nan_to_num(-torch.inf, torch.inf, -torch.inf)
        if not bool((rank > -torch.inf).any(0).all()):
            raise OptimizationError(
                f"the acquisition is not finite at any of {len(points)} choices; look at the "
                "model's posterior there, or at best_f"
            )
        picked.append(rank.argmax(0).unsqueeze(-1))  # *r 1
        free = free.scatter(-1, picked[-1], False)
        x = _rows(X, torch.cat(picked, -1))
        given = acq.with_pending(x) if i + 1 < q else given  # type: ignore[attr-defined]
    index = torch.cat(picked, -1)
    value = values.gather(0, picked[-1].movedim(-1, 0))
    looked = f"compared: all {len(points)} choices"
    report = SearchReport(
        start_values=value,
        values=value,
        converged=torch.ones_like(value, dtype=torch.bool),
        iterations=torch.zeros_like(value, dtype=torch.long),
        violation=torch.zeros_like(value),
        evaluations=q,
        messages={looked: value.numel()},
        halvings=look.halvings,
    )
    return Candidates(_rows(X, index), value.squeeze(0), report, index)


def _pending(acq: object, X: Float[Tensor, "*r n d"]) -> Bool[Tensor, "*r n"]:
    """Which choices are under evaluation already."""
    pending = getattr(acq, "X_pending", None)
    if not isinstance(pending, Tensor):
        return torch.zeros(X.shape[:-1], dtype=torch.bool, device=X.device)
    same = (X.unsqueeze(-2) == pending.unsqueeze(-3)).all(-1).any(-1)
    return same.expand(X.shape[:-1])


def _rows(X: Float[Tensor, "*r n d"], index: Tensor) -> Float[Tensor, "*r q d"]:
    return X.gather(-2, index.unsqueeze(-1).expand(*index.shape, X.shape[-1]))
