"""A teacher's own exercise, complete in one file."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape

e1 = Exercise(
    id="homework.e1",
    title="The best value so far",
    hints=(
        "For y = (3, 5, 4) the result is (3, 5, 5). What would you do with pencil and paper?",
        "One running quantity is enough; it never goes down.",
        "PyTorch has cumulative versions of sum, product and maximum, each with a `dim`.",
    ),
)


@e1.answer
def best_so_far(y: Tensor) -> Tensor:
    """The largest of the values observed up to each step, along the last axis.

    Takes a tensor of shape (..., T) and returns one of the same shape.
    """
    return torch.cummax(y, dim=-1).values


@e1.cases
def cases(rng: Rng) -> Iterator[Case]:
    yield Case(torch.tensor([2.0], dtype=torch.float64))
    yield Case(torch.tensor([-1.0, -2.0], dtype=torch.float64), note="negative values")
    yield Case(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), note="ties")
    for scale in (1.0, 1e-6, 1e6):
        for shape in ((3,), (5,), (2, 4), (1, 6), (2, 3, 5), (4, 1)):
            yield Case(scale * rng.normal(*shape))


@e1.shape
def same_shape(fn: Fn, y: Tensor) -> None:
    has_shape(fn(y), y.shape)


@e1.property("the result never goes down")
def never_down(fn: Fn, y: Tensor) -> bool:
    return bool((fn(y).diff(dim=-1) >= 0).all())


@e1.property("doing it twice changes nothing")
def idempotent(fn: Fn, y: Tensor) -> None:
    close(fn(fn(y)), fn(y), relative=True)


@e1.property("the first value is the first observation")
def first(fn: Fn, y: Tensor) -> None:
    close(fn(y)[..., 0], y[..., 0], relative=True)


@e1.value("Python's max over every beginning of the sequence")
def by_max(fn: Fn, y: Tensor) -> None:
    rows = y.reshape(-1, y.shape[-1]).tolist()
    expected = [[max(row[: t + 1]) for t in range(len(row))] for row in rows]
    close(fn(y).reshape(-1, y.shape[-1]), expected, relative=True)


@e1.wrong("the best of all values, repeated: it knows the future")
def overall_best(y: Tensor) -> Tensor:
    return y.amax(dim=-1, keepdim=True).expand_as(y)


@e1.wrong("starts from zero, so negative values never count")
def from_zero(y: Tensor) -> Tensor:
    return torch.cummax(y.clamp(min=0.0), dim=-1).values


@e1.wrong("runs along the first axis instead of the last")
def first_axis(y: Tensor) -> Tensor:
    return torch.cummax(y, dim=0).values


@e1.wrong("the running minimum")
def minimum(y: Tensor) -> Tensor:
    return torch.cummin(y, dim=-1).values
