"""Models are values: who writes into one gets an error, and its results stay true.

Taught in part_4/tutorial_01.
"""

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor, nn

from ..errors import DataError, UnsupportedError


class Seal:
    """What a model was made of, so that a change in place is noticed.

    Args:
        model: with all its parameters and buffers.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = list(model.parameters())
        self._values = [p.detach().clone() for p in self._own]
        self._versions = _versions(model)

    def renew(self, model: nn.Module) -> None:
        """A copy of the model: nothing has been written into its data yet."""
        self._versions = _versions(model)

    def check(self, model: nn.Module, thoroughly: bool) -> None:
        """Check that the model is what it was.

        Args:
            model: the sealed model.
            thoroughly: whether to look for parameters exchanged for others, too.

        Raises:
            UnsupportedError: it is not.
        """
        # By value: gpytorch's setters write through .data, which no version counter sees.
        same = all(map(torch.equal, self._own, self._values))
        same = same and self._versions == _versions(model)
        if same and thoroughly:
            now = list(model.parameters())
            same = len(now) == len(self._own) and all(map(_is, now, self._own))
        if not same and not all(map(_equal, self._own, self._values)):
            refuse_change(model, "its hyperparameters were changed in place")
        if not same:
            refuse_change(model, "its data or parameters were exchanged or changed in place")


def _versions(model: nn.Module) -> list[int]:
    """How often each piece of the data has been written to."""
    # Tensors made in inference mode do not count; torch refuses to write to most of them.
    return [-1 if b is None or b.is_inference() else b._version for b in model._buffers.values()]


def _is(a: object, b: object) -> bool:
    return a is b


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same values, NaN among them."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def refuse_change(model: nn.Module, what: str) -> NoReturn:
    """Say that models are values.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(
        f"{type(model).__name__}: expected a model as it was made, but {what}, and what was "
        "computed from it before would no longer belong to it; use "
        "model.with_hyperparameters(**values) for other hyperparameters, fit_mll(model) or "
        "model.condition(X, Y), which all return a new model, or make one from the new data"
    )


def check_moves(fn: Callable[[Tensor], Tensor], like: Tensor) -> None:
    """Check that what ``model.to(...)`` does keeps numbers in float64.

    Raises:
        DataError: it does not.
    """
    dtype = fn(like.new_empty(0)).dtype
    if dtype != torch.float64:
        raise DataError(
            f"model.to: expected float64, the only type of numbers that a model computes with, got "
            f"{dtype}; convert the predictions instead"
        )


def refuse_loading(model: nn.Module) -> NoReturn:
    """Say how models are kept, since they cannot be loaded into.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(
        f"load_state_dict: {type(model).__name__} does not change once it is made, and a state "
        "dict holds neither its units nor its priors; keep the whole model with torch.save(model, "
        "path) and torch.load(path, weights_only=False), or make a model of the same data and use "
        "model.with_hyperparameters(**values), with the values from model.hyperparameters()"
    )
