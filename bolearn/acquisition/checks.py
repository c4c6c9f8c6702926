"""Checks and moments that acquisitions share.

Taught in part_4/tutorial_02.
"""

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, ShapeError, UnsupportedError
from ..posteriors import gaussian_members
from ..protocols import Surrogate, has_training_data
from ..shapes import check_same_device, check_tensor, is_whole


def check_model(model: object, who: str) -> None:
    """Check that something is a surrogate.

    Raises:
        DataError: it is not.
    """
    missing = [x for x in ("posterior", "num_outputs", "batch_shape") if not hasattr(model, x)]
    if missing:
        raise DataError(
            f"{who}: expected a model with posterior(X), num_outputs and batch_shape first, got "
            f"{type(model).__name__} without {', '.join(missing)}; fit one with "
            "bolearn.fit_mll(bolearn.ExactGP(X, Y, bounds))"
        )


def check_single_output(model: Surrogate, who: str) -> None:
    """Check that the model has one output.

    Raises:
        DataError: it is no model.
        UnsupportedError: it has several; the message names the way out.
    """
    check_model(model, who)
    if model.num_outputs != 1:
        raise UnsupportedError(
            f"{who}: expected a model with one output, got {model.num_outputs}; use a Monte-Carlo "
            "acquisition with objective=bolearn.output(i), or model that output alone"
        )


def check_level(
    name: str,
    value: object,
    model: Surrogate,
    advice: str = "use bolearn.incumbent(model, X).value",
) -> Tensor:
    """Check a level such as best_f: a finite number, or a tensor that fits the replicates ``*r``.

    ``advice`` is what to do about one that is not finite.

    Raises:
        DataError: not a finite number.
        ShapeError: does not broadcast to the replicates, or would add axes to them.
    """
    if isinstance(value, Tensor):
        level = value
    elif is_whole(value) or isinstance(value, float | np.floating):
        level = torch.tensor(float(value), dtype=torch.float64)
    else:
        raise DataError(f"{name}: expected a number or a tensor, got {type(value).__name__}")
    if level.dtype != torch.float64:
        raise DataError(f"{name}: expected float64, got {level.dtype}; use {name}.double()")
    if not torch.isfinite(level).all():
        raise DataError(
            f"{name}: expected finite numbers, got {level.flatten()[:4].tolist()}; {advice}"
        )
    r = tuple(model.batch_shape)
    if tuple(level.shape) not in ((), r):
        raise ShapeError(
            f"{name}: expected a number or shape {r} (one for each replicate), "
            f"got {tuple(level.shape)}"
        )
    if level.ndim and has_training_data(model):
        check_same_device(**{name: level, "model": model.X})
    return level.detach().clone()  # the caller may change his own


def check_beta(value: object, model: Surrogate) -> Tensor:
    """Check the weight of a confidence bound: not negative.

    Raises:
        DataError: negative or not finite.
        ShapeError: does not fit the replicates.
    """
    advice = "use a number >= 0 such as 4.0, for two standard deviations"
    beta = check_level("beta", value, model, advice)
    if (beta < 0).any():
        raise DataError(f"beta: expected a number >= 0 (the square of kappa), got {value}")
    return beta


def moments(model: Surrogate, X: Tensor, who: str) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation at single points, each ``*batch``.

    Raises:
        UnsupportedError: q > 1.
    """
    check_single_point(X, who)
    posterior = model.posterior(X)
    return posterior.mean[..., 0, 0], posterior.variance[..., 0, 0].sqrt()


def member_moments(model: Surrogate, X: Tensor, who: str) -> tuple[Tensor, Tensor]:
    """Means and standard deviations ``k *batch m`` at single points, of a mixture's k Gaussians.

    Raises:
        UnsupportedError: q > 1, or a posterior that is no mixture of Gaussians.
    """
    check_single_point(X, who)
    mean, variance = gaussian_members(model.posterior(X))
    return mean.squeeze(-2), variance.squeeze(-2).sqrt()


def check_single_point(X: Tensor, who: str) -> None:
    """Check that points are judged one at a time.

    Raises:
        DataError: X is no float64 tensor.
        UnsupportedError: q > 1.
    """
    check_tensor("X", X, finite=False)
    if X.ndim >= 2 and X.shape[-2] != 1:
        raise UnsupportedError(
            f"{who}: judges one point at a time (X: *batch 1 d), got q = {X.shape[-2]}; use "
            "X.unsqueeze(-2) for separate points, or qLogExpectedImprovement for a batch"
        )
