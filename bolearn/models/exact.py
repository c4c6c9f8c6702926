r"""The exact Gaussian process: dense algebra, done once, batched over replicates and outputs.

With K = k(X, X) + noise = L L^T and a = K^-1 (y - c), the belief at x is

    mean c + k(x, X) a,    variance k(x, x) - |k(x, X) L^-T|^2.

Everything that does not depend on x is computed once and belongs to the model (`factor.Factor`).
For plain RBF and Matern kernels value and gradient at x come in closed form (`closed_form`); any
other gpytorch kernel goes through autograd (`marginal_reference`, `joint_reference`).

A model is a value: it never changes. Whatever gives another belief (`fit_mll`, `condition`,
`fantasize`, `with_hyperparameters`, ``to``) gives another model, so that all that was made from
this one stays true.

Taught in part_3/tutorial_03 and part_4/tutorial_01.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from gpytorch.kernels import Kernel
from gpytorch.means import ConstantMean, Mean
from gpytorch.priors import Prior
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import DataError, ShapeError, UnsupportedError
from ..linalg import Stationary
from ..posteriors import GaussianPosterior
from ..shapes import check_bounds, check_data, check_points, check_same_device
from ..transforms import Standardize, UnitCube
from . import conditioning, prediction, priors
from .algebra import Algebra
from .factor import Factor, factorise
from .hyperparameters import Number, Slot, check_values, fresh_copy, known_noise, slots, within
from .noise import NoiseBelief, noise_belief
from .replicated import replicate_kernel, replicate_mean
from .sealing import Seal, check_moves, refuse_change, refuse_loading

# What a model is made of; set once.
_PARTS = {
    "X",
    "Y",
    "observed",
    "bounds",
    "noise",
    "cube",
    "outcome",
    "kernel",
    "mean",
    "likelihood",
    "noise_free",
}


class ExactGP(nn.Module):
    """Gaussian process with Gaussian noise, one independent GP for each output.

    Inputs are mapped to the unit cube by ``bounds`` and outputs are standardised inside; whatever
    goes in and comes out is in user units. ``bounds`` scale the model and do not fence it: the
    posterior answers outside them too.

    The model keeps copies of all that it is given, and is never changed in place: not by a fit, and
    nobody else may. Whoever writes into its parameters or data gets an error at the next question;
    `with_hyperparameters` makes the model that was meant. ``copy.deepcopy``, ``pickle`` and
    ``torch.save`` keep all of it; ``load_state_dict`` is refused. ``model.to(device)`` gives the
    model there and leaves this one here.

    Args:
        X: observed inputs ``*r n d``.
        Y: observed values ``*r n m``.
        bounds: ``2 d`` or ``*r 2 d``.
        kernel: any gpytorch kernel on the unit cube; one without batch shape is copied for every
            replicate and output. Default: RBF, one lengthscale per input, scaled log-normal prior.
        mean: a gpytorch mean; default a constant.
        noise_var: known noise variance in squared user units: a number, ``m``, or per point
            ``*r n m``. Default: one learned variance for each replicate and output.
        noise_prior: of a learned variance, in units of the outputs' variance: ``"botorch"``
            (LogNormal(-4, 1), at least 1e-4; the default), ``"noisy"`` for measurements with much
            noise (LogNormal(-1, 1), at least 1e-4), a gpytorch prior, whose density is
            that of the variance, not of its logarithm, or a `models.noise.NoiseBelief`.
        noise_free: whether values are exact, as a deterministic simulator's are. The learned
            variance then is as good as zero: LogNormal(-12, 3), at least 1e-8.
        observed: which rows count, ``*r n``; default all. Masked rows may hold anything.
        standardize: whether outputs are standardised (mean 0, variance 1) inside.

    Raises:
        DataError: not float64, not finite, bad bounds, no observation, non-positive noise, more
            than one of noise_var, noise_prior and noise_free, a ``standardize`` that is not a bool.
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
    noise_free: bool

    def __init__(
        self,
        X: Float[Tensor, "*r n d"],
        Y: Float[Tensor, "*r n m"],
        bounds: Float[Tensor, "*r2 2 d"],
        *,
        kernel: Kernel | None = None,
        mean: Mean | None = None,
        noise_var: Number | Tensor | None = None,
        observed: Bool[Tensor, "*r n"] | None = None,
        standardize: bool = True,
        noise_prior: str | Prior | NoiseBelief | None = None,
        noise_free: bool = False,
    ) -> None:
        super().__init__()
        X, Y = check_data(X, Y, observed)
        _check_part("kernel", kernel, Kernel, "MaternKernel(nu=2.5)")
        _check_part("mean", mean, Mean, "ConstantMean()")
        if not isinstance(standardize, bool):
            raise DataError(f"standardize: expected True or False, got {standardize!r}")
        belief = noise_belief(noise_prior, noise_free, noise_var is not None)
        box = check_bounds(bounds, X.shape[-1])
        check_same_device(X=X, bounds=box)
        r, d, m = X.shape[:-2], X.shape[-1], Y.shape[-1]
        if box.shape[:-2] not in (torch.Size(), r):
            raise ShapeError(
                f"bounds: expected shape 2 {d} or {(*r, 2, d)}, got {tuple(box.shape)}"
            )
        with torch.inference_mode(False), torch.no_grad():
            self._keep_data(X, Y, box, observed, standardize)
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
            self.register_buffer("noise", self._fixed_noise(noise_var))
            self.likelihood = None if belief is None else _like(X, belief.likelihood(batch))
        self.noise_free = noise_free
        self.fit_report: Any = None
        self.seal()

    def _keep_data(
        self, X: Tensor, Y: Tensor, box: Tensor, observed: Tensor | None, standardize: bool
    ) -> None:
        """Copies of the data, and the units inside."""
        every = torch.ones(X.shape[:-1], dtype=torch.bool, device=X.device)
        mask = every if observed is None else observed.clone()
        # Masked rows may hold NaN: put something harmless there (the box's lower corner and 0).
        X = torch.where(mask.unsqueeze(-1), X, box[..., :1, :])
        Y = torch.where(mask.unsqueeze(-1), Y, 0.0)
        for name, value in (("X", X), ("Y", Y), ("observed", mask), ("bounds", box.clone())):
            self.register_buffer(name, value)
        self.cube = UnitCube(self.bounds)
        self.outcome = Standardize.fit(Y, mask) if standardize else Standardize.identity(Y)

    def _fixed_noise(self, noise_var: Number | Tensor | None) -> Tensor | None:
        """Given noise variances as ``*r m n`` in standardised units, or None."""
        if noise_var is None:
            return None
        value = known_noise(noise_var, tuple(self.Y.shape), self.observed)
        return (value / self.outcome.scale.square()).mT

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
        return {name: slot.read().detach().clone() for name, slot in self._slots().items()}

    def with_hyperparameters(self, **values: Tensor | Number) -> "ExactGP":
        """A model with some hyperparameters replaced; data and transforms are shared.

        Args:
            values: by the names of `hyperparameters`; anything that broadcasts to their shape.

        Raises:
            DataError: an unknown name, a value that is not finite or outside its constraint.
            ShapeError: a value that does not broadcast.
        """
        return self.replaced(self.check_hyperparameters(values))

    def check_hyperparameters(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        """Hyperparameters for `with_hyperparameters` in full shape.

        Raises:
            DataError, ShapeError: as there.
        """
        return check_values(self._slots(), values, self.X)

    def replaced(self, values: Mapping[str, Tensor], report: object = None) -> "ExactGP":
        """A model with other hyperparameters of the right shapes, and the report of their fit."""
        twin = self.unsealed(fresh_copy)
        twin.fit_report = report
        for name, slot in twin._slots().items():
            if name in values:
                slot.write(within(slot.constraint, values[name]))
        return twin.seal()

    def reparametrised(self, raw: Mapping[str, Tensor], report: object = None) -> "ExactGP":
        """A model with other values of the parameters as torch has them, by their full names."""
        twin = self.unsealed(fresh_copy)
        twin.fit_report = report
        with torch.no_grad():
            for name, value in raw.items():
                twin.get_parameter(name).copy_(value)
        return twin.seal()

    def unsealed(self, copied: Callable[[nn.Module], nn.Module]) -> "ExactGP":
        """A model with the same data and copies of kernel, mean and noise; not sealed."""
        self.check_unchanged(thoroughly=True)
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        for name in ("_seal", "_factor", "_closed_form"):
            twin.__dict__.pop(name, None)
        twin.__dict__["fit_report"] = None
        twin.__dict__["_buffers"] = dict(self._buffers)
        twin.__dict__["_modules"] = {
            name: None if part is None else copied(part) for name, part in self._modules.items()
        }
        return twin

    def _slots(self) -> dict[str, Slot]:
        """How to read and write each hyperparameter."""
        self.check_unchanged(thoroughly=True)
        return slots(self.kernel, self.mean, self.likelihood, self.stationary() is not None)

    def stationary(self) -> Stationary | None:
        """The plain kernel behind the closed-form fast paths, or None."""
        return Stationary.of(self.kernel, self.X.shape[-1])

    # -- a value ---------------------------------------------------------------------------------

    def seal(self) -> "ExactGP":
        """From now on the model does not change: remember what it is."""
        self._seal = Seal(self)
        return self

    def check_unchanged(self, thoroughly: bool = False) -> None:
        """Check that nobody wrote into the model, before anything is computed from it.

        Args:
            thoroughly: whether to look for parameters exchanged for others, too; needed wherever
                the kernel itself is asked, and not only what was computed from it.

        Raises:
            UnsupportedError: somebody did.
        """
        if "_seal" in self.__dict__:  # else still in the making
            self._seal.check(self, thoroughly)

    def __setattr__(self, name: str, value: Any) -> None:
        """Parts are set once."""
        if name in _PARTS and "_seal" in self.__dict__:
            refuse_change(self, f"model.{name} was to be set")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a deep copy keeps: everything."""
        self.check_unchanged(thoroughly=True)
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Nothing has been written into the copied data yet."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._seal.renew(self)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        """Refuse to be loaded into.

        Raises:
            UnsupportedError: always.
        """
        refuse_loading(self)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ExactGP":
        """The model on another device, for ``model.to(...)``; this one stays where it is.

        Raises:
            DataError: another type of numbers.
        """
        check_moves(fn, self.X)
        twin = self.unsealed(lambda part: copy.deepcopy(part)._apply(fn))
        twin._buffers = {k: None if v is None else fn(v) for k, v in self._buffers.items()}
        twin.cube = UnitCube(twin.bounds)
        twin.outcome = Standardize(fn(self.outcome.shift), fn(self.outcome.scale))
        twin.fit_report = self.fit_report
        return twin.seal()

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
        X = check_points(X, self.X.shape[-1], self.batch_shape).clone()
        check_same_device(X=X, model=self.X)
        r = self.batch_shape
        if len(r) and X.shape[-2 - len(r) : -2] != r:
            X = X.expand(*X.shape[: -2 - len(r)], *r, *X.shape[-2:])
        self.check_unchanged(thoroughly=True)
        self.factor()  # a covariance that is none is an error here
        return GaussianPosterior(
            torch.Size((*X.shape[:-1], self.num_outputs)),
            partial(prediction.marginal, self, X, observation_noise),
            partial(prediction.joint, self, X, observation_noise),
            scale=self.output_scale.square(),
        )

    # -- more data -------------------------------------------------------------------------------

    def condition(
        self,
        X: Float[Tensor, "*b p d"],
        Y: Float[Tensor, "*c p m"],
        *,
        noise_var: Number | Tensor | None = None,
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
        return conditioning.condition(self, X, Y, noise_var, observed)  # type: ignore[no-any-return]

    def fantasize(
        self,
        X: Float[Tensor, "*batch q d"],
        z: Float[Tensor, "s ..."],
        *,
        noise_var: Number | Tensor | None = None,
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
        return conditioning.fantasize(self, X, z, noise_var)  # type: ignore[no-any-return]

    # -- algebra ---------------------------------------------------------------------------------

    def factor(self) -> Factor:
        """What the data contribute to every prediction.

        Raises:
            NumericsError: the covariance of the data is none.
            UnsupportedError: the model was changed in place.
        """
        self.check_unchanged()
        if "_factor" not in self.__dict__:
            self.check_unchanged(thoroughly=True)
            # In inference mode, too, it is made of tensors that derivatives may use later.
            with torch.inference_mode(False), torch.no_grad():
                self._factor = factorise(self)
        return self._factor

    def algebra(self) -> Algebra | None:
        """The closed form of the moments, or None: for a plain kernel and a constant mean."""
        factor = self.factor()
        if "_closed_form" not in self.__dict__:
            with torch.inference_mode(False), torch.no_grad():
                self._closed_form = Algebra.of(self, factor)
        return self._closed_form

    def cross_factor(self, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "t b q n"]:
        """V = s k(X, data) L^-T in standardised units times the scale; t and b as in `_to_rows`."""
        return prediction.moments_reference(self, X)[2].transpose(0, 1)

    def new_noise(self) -> Float[Tensor, "*r 1 m"]:
        """Noise variance of a new observation, in squared user units."""
        seen = self.observed.unsqueeze(-2)
        noise = torch.where(seen, self.noise_variance(), 0.0).sum(-1) / seen.sum(-1)
        return noise.unsqueeze(-2) * self.outcome.scale.square()

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
