"""More data for a Gaussian process: seen, or imagined; hyperparameters and scaling stay.

The Cholesky factor gets new rows, in O(n^2 p), instead of being computed again; imagined outcomes
(`fantasize`) are draws of the belief that are then taken for data.

Taught in part_4/tutorial_01 and part_5/tutorial_06.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import DataError, ShapeError
from ..posteriors import GaussianPosterior, check_base_samples
from ..shapes import check_mask, check_points, check_rank, check_same_device, check_tensor
from ..transforms import Standardize, UnitCube
from .factor import GP, extended, factorise
from .hyperparameters import Number, fresh_copy, known_noise
from .replicated import expand_module


def condition(
    model: GP, X: Tensor, Y: Tensor, noise_var: Number | Tensor | None, observed: Tensor | None
) -> Any:
    """`ExactGP.condition`."""
    with torch.inference_mode(False), torch.no_grad():
        X, Y, new = _check_new(model, X, Y, observed)
        lead = Y.shape[:-2]
        extra = lead[: len(lead) - len(model.batch_shape)]
        twin = model.unsealed(
            lambda part: expand_module(part, extra) if extra else fresh_copy(part)
        )
        noise = _noise_with_new(model, noise_var, new)
        if noise is not None:
            twin.likelihood = None
        grown = {"X": X.expand(*lead, *X.shape[-2:]), "Y": Y, "observed": new}
        for name, value in grown.items():
            axis = -1 if name == "observed" else -2
            old = model._buffers[name].expand(*extra, *model._buffers[name].shape)
            twin._buffers[name] = torch.cat([old, value], dim=axis)
        twin._buffers["noise"] = noise
        if model.bounds.ndim > 2:
            twin._buffers["bounds"] = model.bounds.expand(*extra, *model.bounds.shape)
        twin.cube = UnitCube(twin.bounds)
        twin.outcome = Standardize(
            *(v.expand(*lead, *v.shape[-2:]) for v in (model.outcome.shift, model.outcome.scale))
        )
        known = extended(model, X, twin, new)
        if known is not None:
            twin._factor = factorise(twin, known)
        return twin.seal()


def fantasize(
    model: GP, X: Tensor, z: Float[Tensor, "s ..."], noise_var: Number | Tensor | None
) -> Any:
    """`ExactGP.fantasize`."""
    with torch.no_grad():
        belief = model.posterior(X)
        check_base_samples(z, belief.event_shape)
        if not len(z):
            raise DataError(f"z: expected at least one sample, got s = 0 ({tuple(z.shape)})")
        mean, covariance = belief.joint_moments
        every = torch.ones(mean.shape[:-1], dtype=torch.bool, device=mean.device)
        noise = _noise_with_new(model, noise_var, every)
        if noise is None:
            added = model.new_noise().expand(mean.shape).mT
        else:
            added = noise[..., -mean.shape[-2] :] * model.outcome.scale.square().mT
        observation = GaussianPosterior.from_moments(mean, covariance + torch.diag_embed(added))
        Y = observation.rsample(z)
    return condition(model, X, Y, noise_var, None)


def _check_new(
    model: GP, X: Tensor, Y: Tensor, observed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """New data with all their batch axes: X ``*t *r p d``, Y ``*lead p m``, mask ``*lead p``.

    X keeps fewer leading axes than Y where all of Y's share it.
    """
    r, d, m = model.batch_shape, model.X.shape[-1], model.num_outputs
    for name, x in (("X", X), ("Y", Y)):
        check_tensor(name, x, finite=observed is None)
        check_rank(name, x, 2, "*t *r p d" if name == "X" else "*t *r p m")
    check_same_device(X=X, Y=Y, model=model.X)
    if observed is not None:
        X, Y = _blanked(model, X, Y, observed)
    X = check_points(X, d, r)
    p = X.shape[-2]
    if tuple(Y.shape[-2:]) != (p, m):
        raise ShapeError(
            f"Y: expected shape *t *r {p} {m} (p values of m outputs), got {tuple(Y.shape)}"
        )
    if not torch.isfinite(Y).all():
        raise DataError("Y: expected finite numbers in observed rows; mask failed ones out")
    have = tuple(Y.shape[:-2])[-len(r) :] if len(r) else ()
    if len(have) < len(r) or any(a not in (1, b) for a, b in zip(have, r, strict=True)):
        raise ShapeError(
            f"Y: the model has replicates {tuple(r)}, so expected shape "
            f"*t {' '.join(map(str, r))} {p} {m}, got {tuple(Y.shape)}"
        )
    X = X.expand(*X.shape[: X.ndim - 2 - len(r)], *r, p, d)
    try:
        lead = torch.broadcast_shapes(X.shape[:-2], Y.shape[:-2])
    except RuntimeError:
        raise ShapeError(
            f"X and Y: expected batch axes that broadcast, got X {tuple(X.shape)} and "
            f"Y {tuple(Y.shape)}"
        ) from None
    Y = Y.expand(*lead, p, m)
    mask = torch.ones(*lead, p, dtype=torch.bool, device=X.device)
    return X.detach(), Y.detach(), mask if observed is None else observed.expand(*lead, p)


def _blanked(model: GP, X: Tensor, Y: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """New data with something harmless in the rows that do not count: they may hold NaN."""
    seen = check_mask(observed).unsqueeze(-1)
    try:
        return torch.where(seen, X, model.bounds[..., :1, :]), torch.where(seen, Y, 0.0)
    except RuntimeError:
        raise ShapeError(
            f"observed: expected a shape that broadcasts to {tuple(Y.shape[:-1])}, "
            f"got {tuple(observed.shape)}"
        ) from None


def _noise_with_new(
    model: GP, noise_var: Number | Tensor | None, new_rows: Bool[Tensor, "*lead p"]
) -> Tensor | None:
    """Noise variances of old and p new points, ``*lead m n+p``; None if they are learned."""
    lead, p = new_rows.shape[:-1], new_rows.shape[-1]
    scale2 = model.outcome.scale.square().mT  # *r m 1
    if noise_var is None:
        if model.noise is None:
            return None
        new = (model.new_noise().mT / scale2).expand(*lead, model.num_outputs, p)
    else:
        new = known_noise(noise_var, (*lead, p, model.num_outputs), new_rows).mT / scale2
    old = model.noise_variance().detach()
    return torch.cat([old.expand(*lead, *old.shape[-2:]), new], dim=-1)
