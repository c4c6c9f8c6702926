r"""The exact Gaussian process: dense algebra, cached once, batched over replicates and outputs.

With K = k(X, X) + noise = L L^T and a = K^-1 (y - c), the belief at x is

    mean c + k(x, X) a,    variance k(x, x) - |k(x, X) L^-T|^2.

Everything that does not depend on x is computed once and cached: a, L^-1 and the scaled inputs.
(L^-1 and not K^-1: the error of the latter grows with the condition number.) For plain RBF and
Matern kernels value and gradient at x come in closed form (`ClosedForm`); any other gpytorch
kernel goes through autograd (`marginal_reference`, `joint_reference`).

Taught in part_3/tutorial_03 and part_4/tutorial_01.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean, Mean
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import DataError, ShapeError, UnsupportedError
from ..linalg import Stationary, extend_by_schur, gram, psd_cholesky, stationary_gram
from ..posteriors import GaussianPosterior, check_base_samples
from ..shapes import (
    check_bounds,
    check_data,
    check_mask,
    check_points,
    check_rank,
    check_same_device,
    check_tensor,
)
from ..transforms import Standardize, UnitCube
from . import priors
from .algebra import Algebra, ClosedForm
from .replicated import expand_module, replicate_kernel, replicate_mean

# Posterior variances are floored here, relative to the prior variance: rounding can make them
# negative, and nothing distinguishes smaller ones from zero.
VARIANCE_FLOOR = 1e-14

# How to read and write a hyperparameter, and its gpytorch constraint (or None).
_Slot = tuple[Callable[[], Tensor], Callable[[Tensor], object], Any]


@dataclass(frozen=True, eq=False)
class _Cache:
    """What prediction needs; rows b are replicates x outputs.

    The scale of the outputs is folded into alpha, Linv and the prior variance, the box into centre
    and inverse: prediction is in user units without another pass over anything.
    """

    alpha: Tensor  # b n: s K^-1 (y - c)
    Linv: Tensor  # b n n: s L^-1, with the rows of masked observations zeroed
    LinvT: Tensor  # b n n, contiguous
    constant: Tensor | None  # b 1 1: the mean's constant; None for other means
    kind: str | None  # of a plain kernel; None for others
    outputscale: Tensor | None  # b 1 1: of a plain kernel, if it has one
    prior: Tensor  # b 1: prior variance of a plain kernel, squared user units
    floor: Tensor  # b 1: no variance is smaller
    centre: Tensor  # b 1 d: the middle of the observed inputs, user units
    inverse: Tensor  # b 1 d: 1 / (width of the box x lengthscale)
    Z: Tensor  # b n d: scaled observed inputs, (X - centre) inverse
    z2: Tensor  # b n: squared norms of Z
    jitter: Tensor  # b: relative jitter that K needed

    @property
    def closed_form(self) -> bool:
        """Whether the fast path applies: a plain kernel and a constant mean."""
        return self.kind is not None and self.constant is not None


class ExactGP(nn.Module):
    """Gaussian process with Gaussian noise, one independent GP for each output.

    Inputs are mapped to the unit cube by ``bounds`` and outputs are standardised inside; whatever
    goes in and comes out is in user units. ``bounds`` scale the model and do not fence it: the
    posterior answers outside them too.

    Args:
        X: observed inputs ``*r n d``.
        Y: observed values ``*r n m``.
        bounds: ``2 d`` or ``*r 2 d``.
        kernel: any gpytorch kernel on the unit cube; one without batch shape is copied for every
            replicate and output. Default: RBF, one lengthscale per input, scaled log-normal prior.
        mean: a gpytorch mean; default a constant.
        noise_var: known noise variance in squared user units: a number, ``m``, or per point
            ``*r n m``. Default: one learned variance for each replicate and output.
        observed: which rows count, ``*r n``; default all. Masked rows may hold anything.
        standardize: whether outputs are standardised (mean 0, variance 1) inside.

    Raises:
        DataError: not float64, not finite, bad bounds, no observation, non-positive noise.
        ShapeError: shapes that do not belong together.

    Example:
        >>> X = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> ExactGP(X, X.sin(), box).posterior(X[:2]).mean.shape
        torch.Size([2, 1])

    Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, algorithm 2.1.
    Defaults as BoTorch's ``SingleTaskGP``, so that numbers compare.
    """

    X: Tensor
    Y: Tensor
    observed: Tensor
    bounds: Tensor
    noise: Tensor | None

    def __init__(
        self,
        X: Float[Tensor, "*r n d"],
        Y: Float[Tensor, "*r n m"],
        bounds: Float[Tensor, "*r2 2 d"],
        *,
        kernel: Kernel | None = None,
        mean: Mean | None = None,
        noise_var: float | Tensor | None = None,
        observed: Bool[Tensor, "*r n"] | None = None,
        standardize: bool = True,
    ) -> None:
        super().__init__()
        X, Y = check_data(X, Y, observed)
        _check_part("kernel", kernel, Kernel, "MaternKernel(nu=2.5)")
        _check_part("mean", mean, Mean, "ConstantMean()")
        box = check_bounds(bounds, X.shape[-1])
        check_same_device(X=X, bounds=box)
        r, n, d, m = X.shape[:-2], X.shape[-2], X.shape[-1], Y.shape[-1]
        if box.shape[:-2] not in (torch.Size(), r):
            raise ShapeError(
                f"bounds: expected shape 2 {d} or {(*r, 2, d)}, got {tuple(box.shape)}"
            )
        every = torch.ones(*r, n, dtype=torch.bool, device=X.device)
        mask = every if observed is None else observed.clone()
        # Masked rows may hold NaN: put something harmless there (the box's lower corner and 0).
        X = torch.where(mask.unsqueeze(-1), X, box[..., :1, :]).detach()
        Y = torch.where(mask.unsqueeze(-1), Y, 0.0).detach()
        for name, value in (("X", X), ("Y", Y), ("observed", mask), ("bounds", box.clone())):
            self.register_buffer(name, value)
        self.cube = UnitCube(self.bounds)
        self.outcome = Standardize.fit(Y, mask) if standardize else Standardize.identity(Y)
        batch = (*r, m)
        self.kernel = (
            _like(X, priors.default_kernel(d, batch))
            if kernel is None
            else replicate_kernel(kernel, batch, d).to(X)
        )
        self.mean = (
            _like(X, ConstantMean(batch_shape=torch.Size(batch)))
            if mean is None
            else replicate_mean(mean, batch, d).to(X)
        )
        self.register_buffer("noise", self._fixed_noise(noise_var, batch, n))
        self.likelihood: GaussianLikelihood | None = None
        if noise_var is None:
            self.likelihood = _like(X, priors.default_likelihood(batch))
        self.fit_report: Any = None
        self._cached: tuple[list[Tensor], _Cache] | None = None
        self._tracked = list(self.parameters())
        self._seen = False  # whether a posterior holds the kernel, mean and noise as they are

    def _fixed_noise(
        self, noise_var: float | Tensor | None, batch: tuple[int, ...], n: int
    ) -> Tensor | None:
        """Given noise variances as ``*r m n`` in standardised units, or None."""
        if noise_var is None:
            return None
        value = self._known_noise(noise_var, (*batch[:-1], n, batch[-1]), self.observed)
        return (value / self.outcome.scale.square()).mT

    def _known_noise(
        self, noise_var: float | Tensor, full: tuple[int, ...], observed: Tensor
    ) -> Tensor:
        """Noise variances in squared user units, checked and expanded to ``full``: ``*lead n m``.

        Where ``observed`` (``*lead n``) is False they may be anything.
        """
        value = _as_tensor("noise_var", noise_var, self.X)
        try:
            value = value.expand(full)
        except RuntimeError:
            raise ShapeError(
                f"noise_var: expected a number, m = {full[-1]} values or shape {full}, "
                f"got {tuple(value.shape)}"
            ) from None
        if not observed.all():
            value = torch.where(observed.unsqueeze(-1), value, 1.0)
        bad = ~(torch.isfinite(value) & (value > 0))
        if bad.any():
            raise DataError(
                "noise_var: expected positive variances in squared user units, got "
                f"{value[bad][:4].tolist()} for observed values; for noise-free data use a small "
                "one, for example 1e-6 times the variance of Y"
            )
        return value

    # -- what the model is made of ---------------------------------------------------------------

    @property
    def num_outputs(self) -> int:
        """m."""
        return self.Y.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """The replicate shape ``*r``."""
        return self.X.shape[:-2]

    @property
    def output_scale(self) -> Float[Tensor, "*r m"]:
        """Standard deviation by which each output was divided, in user units."""
        return self.outcome.scale.squeeze(-2)

    def noise_variance(self) -> Float[Tensor, "*r m n"]:
        """Noise variance of each observation, in standardised units."""
        if self.noise is not None:
            return self.noise
        assert self.likelihood is not None
        noise: Tensor = self.likelihood.noise
        return noise.expand(*self.batch_shape, self.num_outputs, self.X.shape[-2])

    def training_inputs(self) -> Float[Tensor, "*r 1 n d"]:
        """Observed inputs in the unit cube, with an axis for the outputs."""
        return self.cube.encode(self.X).unsqueeze(-3)

    def training_outputs(self) -> Float[Tensor, "*r m n"]:
        """Observed values, standardised."""
        return self.outcome.encode(self.Y).mT

    def hyperparameters(self) -> dict[str, Tensor]:
        """Hyperparameters in the model's units (unit cube, standardised outputs), detached.

        Returns:
            For plain kernels ``lengthscale`` (``*r m d``) and, with a `ScaleKernel`,
            ``outputscale`` (``*r m``); ``mean`` (``*r m``) for a constant mean; ``noise_var``
            (``*r m``) when it is learned. Other kernels' and means' parameters go by their path,
            for example ``kernel.kernels.0.lengthscale``.
        """
        return {name: get().detach().clone() for name, (get, *_) in self._slots().items()}

    def with_hyperparameters(self, **values: Tensor | float) -> "ExactGP":
        """A copy of the model with some hyperparameters replaced; data and transforms are shared.

        Args:
            values: by the names of `hyperparameters`; anything that broadcasts to their shape.

        Raises:
            DataError: an unknown name, a value that is not finite or outside its constraint.
            ShapeError: a value that does not broadcast.
        """
        twin = self._with_parts(copy.deepcopy)
        twin.set_hyperparameters(values)
        return twin

    def _twin(self) -> "ExactGP":
        """A model with the same parts, whose parts can be exchanged."""
        twin = ExactGP.__new__(ExactGP)
        own = {"_modules": dict(self._modules), "_buffers": dict(self._buffers)}
        twin.__dict__.update(self.__dict__, **own)
        return twin

    def _with_parts(self, copied: Callable[[nn.Module], nn.Module]) -> "ExactGP":
        """A model with the same data and copies of kernel, mean and noise."""
        twin = self._twin()
        twin._modules = {
            name: None if part is None else copied(part) for name, part in self._modules.items()
        }
        twin._tracked, twin._seen = list(twin.parameters()), False
        twin._cached, twin.fit_report = None, None
        return twin

    def set_hyperparameters(self, values: dict[str, Tensor | float]) -> None:
        """Replace hyperparameters in place (see `with_hyperparameters`)."""
        slots, checked = self._slots(), {}
        for name, value in values.items():
            if name not in slots:
                raise DataError(
                    f"hyperparameters: expected names among {sorted(slots)}, got {name!r}"
                )
            get, _, constraint = slots[name]
            have, given = get(), _as_tensor(name, value, self.X)
            if not torch.isfinite(given).all():
                raise DataError(f"{name}: expected finite numbers, got {given.flatten().tolist()}")
            try:
                given = given.expand_as(have)
            except RuntimeError:
                raise ShapeError(
                    f"{name}: expected shape {tuple(have.shape)}, got {tuple(given.shape)}"
                ) from None
            _check_constraint(name, given, constraint)
            checked[name] = given.clone()
        self._put(checked)

    def _put(self, values: dict[str, Tensor]) -> None:
        """Replace hyperparameters in place by values of the right shape, within their limits."""
        self.renew()
        slots = self._slots()
        for name, value in values.items():
            _, put, constraint = slots[name]
            put(within(constraint, value))

    def _slots(self) -> dict[str, _Slot]:
        """Name -> (read, write, constraint) of each hyperparameter."""
        slots: dict[str, _Slot] = {}
        if self.stationary() is None:
            slots |= _module_slots("kernel", self.kernel)
        else:
            base = getattr(self.kernel, "base_kernel", self.kernel)
            slots["lengthscale"] = (
                lambda: base.lengthscale.squeeze(-2),
                lambda v: base._set_lengthscale(v.unsqueeze(-2)),
                base.raw_lengthscale_constraint,
            )
            if base is not self.kernel:
                slots["outputscale"] = (
                    lambda: self.kernel.outputscale,
                    lambda v: self.kernel._set_outputscale(v),
                    self.kernel.raw_outputscale_constraint,
                )
        if type(self.mean) is ConstantMean:
            slots["mean"] = (
                lambda: self.mean.constant,
                lambda v: self.mean.initialize(constant=v),
                self.mean.constraint_for_parameter_name("raw_constant"),
            )
        else:
            slots |= _module_slots("mean", self.mean)
        noise = self.likelihood
        if noise is not None:
            slots["noise_var"] = (
                lambda: noise.noise.squeeze(-1),
                lambda v: noise.noise_covar.initialize(noise=v.unsqueeze(-1)),
                noise.noise_covar.raw_noise_constraint,
            )
        return slots

    def stationary(self) -> Stationary | None:
        """The plain kernel behind the closed-form fast paths, or None."""
        return Stationary.of(self.kernel, self.X.shape[-1])

    # -- the belief ------------------------------------------------------------------------------

    def posterior(
        self, X: Float[Tensor, "*batch q d"], *, observation_noise: bool = False
    ) -> GaussianPosterior:
        """Belief about f (or, with ``observation_noise``, about a new observation) at X.

        Args:
            X: points in user units; the trailing axes of ``*batch`` are the replicates, each equal
                to the model's or 1 (``b 1 q d`` asks the same points of every replicate).
            observation_noise: adds the noise variance; for noise known per point, its average.

        Returns:
            The posterior, differentiable in X; moments ``*batch q m`` in user units.

        Raises:
            DataError: points that are not finite float64 numbers.
            ShapeError: shapes that do not fit the model.
        """
        X = check_points(X, self.X.shape[-1], self.batch_shape)
        check_same_device(X=X, model=self.X)
        r = self.batch_shape
        if len(r) and X.shape[-2 - len(r) : -2] != r:
            X = X.expand(*X.shape[: -2 - len(r)], *r, *X.shape[-2:])
        shape = torch.Size((*X.shape[:-1], self.num_outputs))
        belief = self._as_it_is()
        return GaussianPosterior(
            shape,
            lambda: belief._marginal(X, observation_noise),
            lambda: belief._joint(X, observation_noise),
            scale=self.output_scale.square(),
        )

    def _as_it_is(self) -> "ExactGP":
        """The model now: a posterior keeps it, whatever is fitted before its moments are asked."""
        self.cache()
        self._seen = True
        return self._twin()

    def renew(self) -> None:
        """Give the model its own copies of kernel, mean and noise if a posterior holds them."""
        if self._seen:
            self._modules = {name: copy.deepcopy(part) for name, part in self._modules.items()}
            self._tracked, self._seen = list(self.parameters()), False

    # -- more data -------------------------------------------------------------------------------

    def condition(
        self,
        X: Float[Tensor, "*b p d"],
        Y: Float[Tensor, "*c p m"],
        *,
        noise_var: float | Tensor | None = None,
        observed: Bool[Tensor, "*e p"] | None = None,
    ) -> "ExactGP":
        """The belief after seeing more data: hyperparameters and output scaling stay as they are.

        Leading axes that X or Y have beyond ``*r`` become leading replicate axes of the result: Y
        of shape ``s *r p m`` gives s beliefs in one model, with batch shape ``s *r``. The Cholesky
        factor gets new rows, in O(n^2 p), instead of being computed again.

        Args:
            X: new inputs ``*t *r p d``; replicate axes equal to the model's or 1.
            Y: their values ``*t *r p m``; batch axes broadcast against those of X.
            noise_var: known noise variance of the new values, as for the model. Default: the
                learned one, or the average of the known ones. If the model's noise is learned
                and this is given, the result holds both as known, per point.
            observed: which new rows count, ``*t *r p``, or fewer leading axes; default all.

        Returns:
            A new model; it is a constant: no gradient flows to X or Y.

        Raises:
            DataError: data that are not finite float64 numbers, non-positive noise.
            ShapeError: shapes that do not fit the model.

        Example:
            >>> X = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
            >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
            >>> model = ExactGP(X[:3], X[:3].sin(), box)
            >>> model.condition(X[3:], X[3:].sin()).X.shape
            torch.Size([5, 1])

        Source: Golub & Van Loan, "Matrix computations", 4th edition 2013, section 4.2.
        """
        X, Y, new = self._check_new(X, Y, observed)
        lead = Y.shape[:-2]
        extra = lead[: len(lead) - len(self.batch_shape)]
        with torch.no_grad():
            twin = self._with_parts(lambda part: expand_module(part, extra))
            noise = self._noise_with_new(noise_var, new)
            if noise is not None:
                twin.likelihood = None
            grown = {"X": X.expand(*lead, *X.shape[-2:]), "Y": Y, "observed": new}
            for name, value in grown.items():
                old = self._buffers[name]
                assert old is not None
                axis = -1 if name == "observed" else -2
                old = old.expand(*extra, *old.shape)
                twin._buffers[name] = torch.cat([old, value], dim=axis)
            twin._buffers["noise"] = noise
            if self.bounds.ndim > 2:
                twin._buffers["bounds"] = self.bounds.expand(*extra, *self.bounds.shape)
            twin.cube = UnitCube(twin.bounds)
            twin.outcome = Standardize(
                *(v.expand(*lead, *v.shape[-2:]) for v in (self.outcome.shift, self.outcome.scale))
            )
            known = self._extended(X, twin, new)
            if known is not None:
                values = [p.detach().clone() for p in twin._tracked]
                twin._cached = (values, twin._compute_cache(known))
        return twin

    def fantasize(
        self,
        X: Float[Tensor, "*batch q d"],
        z: Float[Tensor, "s ..."],
        *,
        noise_var: float | Tensor | None = None,
    ) -> "ExactGP":
        """One belief for each imagined outcome at X: samples become leading replicate axes.

        Outcomes are observations, noise included: y = mean + L z with L L^T the joint covariance
        of q new observations. Averaged over z, the fantasies' means are the present mean, and
        their variance is what observing X will leave.

        Args:
            X: points ``*t *r q d``; replicate axes equal to the model's or 1.
            z: standard normals ``s *b q m`` (`Sampler.base_samples`); batch axes that are missing
                or of size 1 are shared.
            noise_var: noise variance of the imagined observations, as in `condition`.

        Returns:
            A model with batch shape ``s *t *r``: ask it for ``*batch q' d`` with these as trailing
            batch axes, or for ``s 1 ... q' d``.

        Raises:
            DataError: points that are not finite float64 numbers, non-positive noise.
            ShapeError: shapes that do not fit the model.

        Example:
            >>> X = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
            >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
            >>> z = torch.zeros(8, 2, 1, dtype=torch.float64)
            >>> ExactGP(X, X.sin(), box).fantasize(X[:2] + 0.1, z).batch_shape
            torch.Size([8])
        """
        with torch.no_grad():
            belief = self.posterior(X)
            check_base_samples(z, belief.event_shape)
            if not len(z):
                raise DataError(f"z: expected at least one sample, got s = 0 ({tuple(z.shape)})")
            mean, covariance = belief.joint_moments
            every = torch.ones(mean.shape[:-1], dtype=torch.bool, device=mean.device)
            noise = self._noise_with_new(noise_var, every)
            if noise is None:
                added = self._new_noise().expand(mean.shape).mT
            else:
                added = noise[..., -mean.shape[-2] :] * self.outcome.scale.square().mT
            observation = GaussianPosterior.from_moments(mean, covariance + torch.diag_embed(added))
            Y = observation.rsample(z)
        return self.condition(X, Y, noise_var=noise_var)

    def _check_new(
        self, X: Tensor, Y: Tensor, observed: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New data with all their batch axes: X ``*t *r p d``, Y ``*lead p m``, mask ``*lead p``.

        X keeps fewer leading axes than Y where all of Y's share it.
        """
        r, d, m = self.batch_shape, self.X.shape[-1], self.num_outputs
        for name, x in (("X", X), ("Y", Y)):
            check_tensor(name, x, finite=observed is None)
            check_rank(name, x, 2, "*t *r p d" if name == "X" else "*t *r p m")
        check_same_device(X=X, Y=Y, model=self.X)
        if observed is not None:
            X, Y = self._blanked(X, Y, observed)
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

    def _blanked(self, X: Tensor, Y: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """New data with something harmless in the rows that do not count: they may hold NaN."""
        seen = check_mask(observed).unsqueeze(-1)
        try:
            return torch.where(seen, X, self.bounds[..., :1, :]), torch.where(seen, Y, 0.0)
        except RuntimeError:
            raise ShapeError(
                f"observed: expected a shape that broadcasts to {tuple(Y.shape[:-1])}, "
                f"got {tuple(observed.shape)}"
            ) from None

    def _noise_with_new(
        self, noise_var: float | Tensor | None, new_rows: Bool[Tensor, "*lead p"]
    ) -> Tensor | None:
        """Noise variances of old and p new points, ``*lead m n+p``; None if they are learned."""
        lead, p = new_rows.shape[:-1], new_rows.shape[-1]
        scale2 = self.outcome.scale.square().mT  # *r m 1
        if noise_var is None:
            if self.noise is None:
                return None
            new = (self._new_noise().mT / scale2).expand(*lead, self.num_outputs, p)
        else:
            new = self._known_noise(noise_var, (*lead, p, self.num_outputs), new_rows).mT / scale2
        old = self.noise_variance().detach()
        return torch.cat([old.expand(*lead, *old.shape[-2:]), new], dim=-1)

    def _extended(self, X: Tensor, twin: "ExactGP", new: Tensor) -> tuple[Tensor, Tensor] | None:
        """L^-1 of the twin, ``b n n``, and its jitter; None if it has to be factorised afresh."""
        cache, r, m = self.cache(), self.batch_shape, self.num_outputs
        p, n = X.shape[-2], self.X.shape[-2]
        # More new rows than old gain nothing; and a factor with jitter is that of another matrix,
        # whose jitter the new rows would lack.
        if p > n or cache.jitter.any():
            return None
        # The factor depends on X (``*t *r p d``), noise and mask, not on Y. Along the leading axes
        # that only Y has (``common``) it is the same and computed once, unless rows are masked, or
        # noisier, in some of them only: then X needs them all.
        lead, noise = twin.batch_shape, twin.noise_variance()[..., -p:]
        t, extra = X.shape[: X.ndim - 2 - len(r)], lead[: len(lead) - len(r)]
        common = extra[: len(extra) - len(t)]
        plain = bool(new.all()) and (twin.noise is None or _is_constant(noise, len(common)))
        if not plain or lead[len(common) :] != X.shape[:-2]:
            X, t, common = X.expand(*lead, p, X.shape[-1]), extra, torch.Size()
        first = (0,) * len(common)
        noise, seen, counts = noise[first], new[first].unsqueeze(-2), twin.observed[first]
        scale = self.outcome.scale.mT.unsqueeze(-1)  # *r m 1 1
        shape = (*t, *r, m)
        # The posterior has both pieces: V = s C L^-T and the covariance s^2 (D - B B^T).
        V = _moments_reference(self, X)[2].transpose(0, 1).reshape(*shape, p, n)
        B = torch.where(seen.unsqueeze(-1), V / scale, 0.0)
        schur = self.posterior(X).joint_moments[1] / scale.square()
        inverse = (cache.Linv.reshape(*r, m, n, n) / scale).expand(*shape, n, n)
        grown = extend_by_schur(inverse, B, mask_covariance(schur, noise, seen))
        if grown.failed.any():
            return None
        Linv = torch.where(counts[..., None, :, None], grown.inverse, 0.0)
        full = Linv.expand(*common, *Linv.shape).reshape(-1, n + p, n + p)
        return full, torch.zeros_like(full[:, 0, 0])

    # -- algebra ---------------------------------------------------------------------------------

    def algebra(self) -> Algebra | None:
        """The closed form of the moments, or None: for a plain kernel and a constant mean."""
        c = self.cache()
        if not c.closed_form:
            return None
        n = c.Z.shape[-2]
        return Algebra(self, c, self.num_outputs, n, c.alpha, c.Linv, c.LinvT, c.Z, c.z2)

    def _marginal(self, X: Tensor, observation_noise: bool) -> tuple[Tensor, Tensor]:
        algebra = self.algebra()
        if algebra is not None:
            each = X.movedim(-2, 0).unsqueeze(-2)  # q sets of one point
            mean, _, variance = ClosedForm.apply(each, algebra, self._reference_of_each)  # type: ignore[no-untyped-call]
            mean, variance = (v.squeeze(-2).movedim(0, -2) for v in (mean, variance.squeeze(-1).mT))
        else:
            mean, variance = marginal_reference(self, X)
        if observation_noise:
            variance = variance + self._new_noise()
        return mean, variance

    def _reference_of_each(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The reference's moments in the form of `ClosedForm`, for sets of one point."""
        mean, variance = marginal_reference(self, X)
        return mean, mean.mT.unsqueeze(-1)[..., :0], variance.mT.unsqueeze(-1)

    def _joint(self, X: Tensor, observation_noise: bool) -> tuple[Tensor, Tensor]:
        algebra = self.algebra()
        if algebra is not None:
            mean, _, covariance = ClosedForm.apply(X, algebra, self._reference_of_all)  # type: ignore[no-untyped-call]
        else:
            mean, covariance = joint_reference(self, X)
        if observation_noise:
            noise = self._new_noise().mT  # *r m 1
            covariance = covariance + torch.diag_embed(noise.expand(*noise.shape[:-1], X.shape[-2]))
        return mean, covariance

    def _reference_of_all(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same for points judged jointly."""
        mean, covariance = joint_reference(self, X)
        return mean, covariance[..., :0], covariance

    def _new_noise(self) -> Float[Tensor, "*r 1 m"]:
        """Noise variance of a new observation, in squared user units."""
        seen = self.observed.unsqueeze(-2)
        noise = torch.where(seen, self.noise_variance(), 0.0).sum(-1) / seen.sum(-1)
        return noise.unsqueeze(-2) * self.outcome.scale.square()

    def cache(self) -> _Cache:
        """The cached algebra, recomputed when a hyperparameter has changed."""
        # Compared by value: gpytorch's setters write through .data, which no version counter sees.
        if self._cached is None or not all(map(torch.equal, self._cached[0], self._tracked)):
            # In inference mode, too, the cache is made of tensors that derivatives may use later.
            with torch.inference_mode(False), torch.no_grad():
                values = [p.detach().clone() for p in self._tracked]
                self._cached = (values, self._compute_cache())
        return self._cached[1]

    def _compute_cache(self, known: tuple[Tensor, Tensor] | None = None) -> _Cache:
        """The algebra; ``known`` is L^-1 ``b n n`` with masked rows zeroed, and the jitter."""
        lead, (n, d) = (*self.batch_shape, self.num_outputs), self.X.shape[-2:]
        b, X = math.prod(lead), self.training_inputs()
        mask = self.observed.unsqueeze(-2).expand(*lead, n).reshape(b, n)
        x = X.expand(*lead, n, d).reshape(b, n, d)
        scale = self.outcome.scale.reshape(b, 1)
        y = (self.training_outputs() - self.mean(X)).expand(*lead, n).reshape(b, n)
        Linv, jitter = self._inverse_factor() if known is None else known
        # a = L^-T L^-1 (y - c)
        alpha = (Linv.mT @ (Linv @ torch.where(mask, y, 0.0).unsqueeze(-1))).squeeze(-1) * scale
        Linv = Linv * scale.unsqueeze(-1)
        constant = None
        if type(self.mean) is ConstantMean:
            constant = self.mean.constant.reshape(b, 1) * scale + self.outcome.shift.reshape(b, 1)
            constant = constant.unsqueeze(-1)
        plain = self.stationary()
        width = self.cube.width.unsqueeze(-3).expand(*lead, 1, d).reshape(b, 1, d)
        corner = self.bounds[..., :1, :].unsqueeze(-3).expand(*lead, 1, d).reshape(b, 1, d)
        middle = (x * mask.unsqueeze(-1)).sum(-2, keepdim=True) / mask.sum(-1)[:, None, None]
        lengthscale = 1.0 if plain is None else plain.lengthscale.reshape(b, 1, d)
        Z = (x - middle) / lengthscale
        outputscale = None if plain is None else plain.outputscale
        if outputscale is not None:
            outputscale = outputscale.reshape(b, 1, 1)
        return _Cache(
            alpha=alpha,
            Linv=Linv,
            LinvT=Linv.mT.contiguous(),
            constant=constant,
            kind=None if plain is None else plain.kind,
            outputscale=outputscale,
            prior=scale.square() * (1.0 if outputscale is None else outputscale.squeeze(-1)),
            floor=VARIANCE_FLOOR * scale.square(),
            centre=corner + middle * width,
            inverse=1 / (width * lengthscale),
            Z=Z,
            z2=Z.square().sum(-1),
            jitter=jitter,
        )

    def _inverse_factor(self) -> tuple[Tensor, Tensor]:
        """L^-1 ``b n n`` with masked rows zeroed, and the relative jitter ``b`` that K needed."""
        A, (n, d) = _covariance(self), self.X.shape[-2:]
        points = self.training_inputs().expand(*A.shape[:-1], d).reshape(-1, n, d)
        factor = psd_cholesky(A.reshape(-1, n, n), points)
        eye = torch.eye(n, dtype=A.dtype, device=A.device).expand_as(factor.L)
        Linv = torch.linalg.solve_triangular(factor.L, eye, upper=False)
        counts = self.observed.unsqueeze(-2).expand(A.shape[:-1]).reshape(-1, n, 1)
        return torch.where(counts, Linv, 0.0), factor.jitter

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ExactGP":
        """Move to another device (``model.to(...)``) with all that is not a parameter or buffer."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.cube = UnitCube(self.bounds)
        self.outcome = Standardize(fn(self.outcome.shift), fn(self.outcome.scale))
        self._cached, self._tracked = None, list(self.parameters())
        return self

    def extra_repr(self) -> str:
        """The data's shape."""
        n, d = self.X.shape[-2:]
        return f"replicates={tuple(self.batch_shape)}, n={n}, d={d}, m={self.num_outputs}"


_Part = TypeVar("_Part", bound=nn.Module)


def _check_part(name: str, part: object, kind: type, example: str) -> None:
    if part is not None and not isinstance(part, kind):
        raise DataError(
            f"{name}: expected a gpytorch {name} such as gpytorch.{name}s.{example}, got {part!r}"
        )


def _like(X: Tensor, part: _Part) -> _Part:
    """A part with the type and on the device of X; nothing is walked through if it is there."""
    first = next(part.parameters())
    return part if first.dtype == X.dtype and first.device == X.device else part.to(X)


def _as_tensor(name: str, value: object, like: Tensor) -> Tensor:
    """A number or a float64 tensor as a tensor on the device of another.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, Tensor):
        check_tensor(name, value, finite=False)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(
            f"{name}: expected a number or a float64 tensor, got {value!r}; "
            f"use torch.as_tensor({name}, dtype=torch.float64)"
        )
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def _is_constant(x: Tensor, axes: int) -> bool:
    """Whether x does not change along its leading axes."""
    return bool((x == x[(slice(0, 1),) * axes]).all())


def _check_constraint(name: str, value: Tensor, constraint: Any) -> None:
    """Check a hyperparameter against its gpytorch constraint, up to rounding.

    Raises:
        DataError: it lies outside.
    """
    if constraint is None:
        return
    low, high = (x.to(value) for x in (constraint.lower_bound, constraint.upper_bound))
    if ((value < low * (1 - 1e-6)) | (value > high * (1 + 1e-6))).any():
        raise DataError(
            f"{name}: expected values from {low.min().item():g} to {high.max().item():g}, "
            f"got {value.flatten()[:4].tolist()}, outside its constraint; pass a kernel with "
            "another constraint"
        )


def within(constraint: Any, value: Tensor) -> Tensor:
    """A value moved into its gpytorch constraint, which rounding may have left.

    A constraint with a transform keeps it a hair inside: at an end the raw value is infinite.
    """
    if constraint is None:
        return value
    low, high = (x.to(value) for x in (constraint.lower_bound, constraint.upper_bound))
    if constraint.enforced:
        end = torch.where(torch.isfinite(low), low, high).abs()
        hair = 1e-10 * torch.where(torch.isfinite(high - low), high - low, end)
        low, high = low + hair, high - hair
    return torch.clamp(value, low, high)


def _module_slots(path: str, module: nn.Module) -> dict[str, _Slot]:
    """Read and write each parameter of a gpytorch module, by its path and constrained value."""
    slots: dict[str, _Slot] = {}
    for name, _, constraint in named_parameters(module):
        parent_path, _, leaf = name.rpartition(".")
        parent = module.get_submodule(parent_path)
        public = leaf.removeprefix("raw_")
        if not hasattr(parent, public):
            public = leaf

        def read(parent: nn.Module = parent, public: str = public) -> Tensor:
            return getattr(parent, public)  # type: ignore[no-any-return]

        def write(value: Tensor, parent: Any = parent, public: str = public) -> object:
            return parent.initialize(**{public: value})

        slots[f"{path}.{parent_path + '.' if parent_path else ''}{public}"] = (
            read,
            write,
            constraint,
        )
    return slots


def named_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter, Any]]:
    """Parameters, also frozen ones, with their gpytorch constraint, or None."""
    found = []
    for name, parameter in module.named_parameters():
        parent_path, _, leaf = name.rpartition(".")
        parent: Any = module.get_submodule(parent_path)
        constraint = (
            parent.constraint_for_parameter_name(leaf)
            if hasattr(parent, "constraint_for_parameter_name")
            else None
        )
        found.append((name, parameter, constraint))
    return found


def mask_covariance(
    K: Float[Tensor, "*b n n"], noise: Float[Tensor, "*b n"], observed: Bool[Tensor, "*c n"]
) -> Float[Tensor, "*b n n"]:
    """K + noise for observed rows; a masked row becomes a row of the identity.

    The determinant and every product with observed rows are then those of the smaller matrix.
    """
    pair = observed.unsqueeze(-1) & observed.unsqueeze(-2)
    return torch.where(pair, K, 0.0) + torch.diag_embed(torch.where(observed, noise, 1.0))


def _covariance(model: ExactGP) -> Float[Tensor, "*r m n n"]:
    """K of the observations in standardised units, noise included."""
    n, K = model.X.shape[-2], gram(model.kernel, model.training_inputs())
    K = K.expand(*model.batch_shape, model.num_outputs, n, n)
    return mask_covariance(K, model.noise_variance(), model.observed.unsqueeze(-2))


def algebra_of(model: object) -> Algebra | None:
    """The algebra of a Gaussian process with a plain kernel and a constant mean, else None."""
    if isinstance(model, ExactGP) and type(model).posterior is ExactGP.posterior:
        return model.algebra()
    return None


def check_exact(model: object, who: str) -> None:
    """Check that the model is an `ExactGP`.

    Raises:
        UnsupportedError: it is not.
    """
    if not isinstance(model, ExactGP):
        raise UnsupportedError(
            f"{who}: expected an ExactGP, got {type(model).__name__}; of a ModelList, ask each "
            "model that it holds"
        )


def log_marginal_likelihood(model: ExactGP) -> Float[Tensor, "*r"]:
    """log p(y | X, hyperparameters), summed over outputs, in standardised units; differentiable.

    -1/2 y^T K^-1 y - 1/2 log det K - n/2 log 2 pi, with y the standardised outputs minus the mean.
    In user units it is smaller by n log(output_scale). Priors are not included.

    Args:
        model: the Gaussian process.

    Returns:
        One value for each replicate.

    Raises:
        NumericsError: the covariance is not positive definite.
        UnsupportedError: a model that is no `ExactGP`.

    Source: Rasmussen & Williams 2006, equation 2.30.
    """
    check_exact(model, "log_marginal_likelihood")
    return log_likelihood_by_output(model, lambda A, x: psd_cholesky(A, x).L).sum(-1)


def log_likelihood_by_output(
    model: ExactGP, factor: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "*r m"]:
    """The terms of `log_marginal_likelihood`, with Cholesky factors L from ``factor(A, X)``."""
    X, observed = model.training_inputs(), model.observed.unsqueeze(-2)
    A = _covariance(model)
    L = factor(A, X.expand(*A.shape[:-1], X.shape[-1]))
    y = torch.where(observed, model.training_outputs() - model.mean(X), 0.0)
    # w = L^-1 (y - c); masked rows add log 1 = 0 to the determinant
    w: Tensor = torch.linalg.solve_triangular(L, y.unsqueeze(-1), upper=False).squeeze(-1)
    log_det: Tensor = 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    count = observed.sum(-1).to(y)
    return -0.5 * (w.square().sum(-1) + log_det + count * math.log(2 * math.pi))


# -- prediction: reference first, then the closed form -------------------------------------------


def _to_rows(model: ExactGP, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "b t q d"]:
    """Points by rows b = replicates x outputs; t counts the leading part of ``*batch``."""
    rows = X.reshape(-1, model.batch_shape.numel(), *X.shape[-2:]).transpose(0, 1)
    return rows if model.num_outputs == 1 else rows.repeat_interleave(model.num_outputs, dim=0)


def _from_rows(model: ExactGP, v: Tensor, batch: torch.Size) -> Tensor:
    """``b t ...`` -> ``*batch m ...``."""
    v = v.reshape(model.batch_shape.numel(), model.num_outputs, *v.shape[1:])
    return v.movedim(2, 0).reshape(*batch, model.num_outputs, *v.shape[3:])


def _gram(model: ExactGP, A: Tensor, B: Tensor) -> Tensor:
    """k(A, B); of plain kernels by their definition if a gradient is wanted, perhaps twice."""
    plain = model.stationary() if torch.is_grad_enabled() and A.requires_grad else None
    return gram(model.kernel, A, B) if plain is None else stationary_gram(plain, A, B)


def _moments_reference(model: ExactGP, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points for the kernel ``t *r m q d``, user-unit mean and V = k s L^-T, both ``b t q ...``."""
    cache, rows = model.cache(), _to_rows(model, X)
    lead, (b, t, q, d) = (*model.batch_shape, model.num_outputs), rows.shape
    # gpytorch wants its own batch axes last among the batch axes: t goes in front of them
    points = rows.transpose(0, 1).reshape(t, *model.batch_shape, model.num_outputs, q, d)
    box = model.bounds.unsqueeze(-3)
    points = (points - box[..., :1, :]) / (box[..., 1:, :] - box[..., :1, :])
    K = _gram(model, points, model.training_inputs()).expand(t, *lead, q, -1)
    K = K.reshape(t, b, q, K.shape[-1]).transpose(0, 1)
    prior_mean = model.mean(points).expand(t, *lead, q).reshape(t, b, q).transpose(0, 1)
    scale, shift = (v.reshape(b, 1, 1) for v in (model.outcome.scale, model.outcome.shift))
    mean = prior_mean * scale + shift + (K @ cache.alpha[:, None, :, None]).squeeze(-1)
    return points, mean, K @ cache.LinvT.unsqueeze(1)


def marginal_reference(
    model: ExactGP, X: Float[Tensor, "*batch q d"]
) -> tuple[Float[Tensor, "*batch q m"], Float[Tensor, "*batch q m"]]:
    """Mean and variance for any kernel, through autograd; the closed form's oracle."""
    points, mean, V = _moments_reference(model, X)
    b, t, q = mean.shape
    scale = model.outcome.scale.reshape(b, 1, 1).square()
    prior = model.kernel(points, diag=True).expand(points.shape[:-1]).reshape(t, b, q)
    variance = prior.transpose(0, 1) * scale - V.square().sum(-1)
    variance = torch.maximum(variance, model.cache().floor.unsqueeze(-1))
    return _from_rows(model, mean, X.shape[:-2]).mT, _from_rows(model, variance, X.shape[:-2]).mT


def joint_reference(
    model: ExactGP, X: Float[Tensor, "*batch q d"]
) -> tuple[Float[Tensor, "*batch q m"], Float[Tensor, "*batch m q q"]]:
    """Mean and covariances for any kernel, through autograd; the closed form's oracle."""
    points, mean, V = _moments_reference(model, X)
    b, t, q = mean.shape
    scale = model.outcome.scale.reshape(b, 1, 1, 1).square()
    prior = _gram(model, points, points).expand(*points.shape[:-1], q).reshape(t, b, q, q)
    covariance = prior.transpose(0, 1) * scale - V @ V.mT
    return _from_rows(model, mean, X.shape[:-2]).mT, _from_rows(model, covariance, X.shape[:-2])
