r"""A fully Bayesian Gaussian process that expects few of its many inputs to matter.

The sparse axis-aligned subspace (SAAS) prior, for inputs in the unit cube and standardised outputs:

    tau ~ HalfCauchy(0.1)                     how much matters at all
    rho_k = tau b_k,  b_k ~ HalfCauchy(1)     inverse squared lengthscale of input k
    c ~ Normal(0, 1),  s ~ Gamma(2, 0.15),  noise ~ 1e-4 + Gamma(0.9, 10)
    y = c + f(x) + noise,  f ~ GP(0, s Matern-5/2)

A small tau shuts all inputs off; the Cauchy's heavy tail lets the data switch single ones on again.
One best set of hyperparameters would throw that doubt away, so many are drawn (`mcmc.nuts`) and
each draw is a member of a mixture. In theta = (log tau, log b, c, log s, log(noise - 1e-4)) the
half-Cauchy densities become 1 / (pi cosh), and the gradient of the log marginal likelihood is, with
M = s W o H as in `models.fit_plain`,

    d/d log rho_k = -rho_k / 2 [ (x_k o x_k)^T M 1 - x_k^T M x_k ]:

a Cholesky factor and a few products, for all chains of all data sets at once.

Taught in part_5/tutorial_05.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from gpytorch.constraints import Positive
from gpytorch.kernels import MaternKernel, ScaleKernel
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .. import seeds
from ..errors import DataError
from ..mcmc import SamplingReport, nuts
from ..posteriors import MixturePosterior
from ..shapes import check_count, check_data, check_points
from .exact import ExactGP
from .fit_plain import LogPriors, PlainRows
from .hyperparameters import Number
from .priors import NOISE_FLOOR
from .sealing import refuse_loading

TAU_SCALE = 0.1


class SAASGP(nn.Module):
    """Gaussian process with the SAAS prior: for many inputs of which few matter.

    The hyperparameters are sampled when the model is made; there is nothing to fit afterwards.
    Outputs are independent, replicates and outputs are sampled as one batch.
    50 observations of 30 inputs take about 15 seconds of one core; on a busy machine call
    ``torch.set_num_threads(1)`` first, for more threads slow small matrices down.

    Args:
        X: observed inputs ``*r n d``.
        Y: observed values ``*r n m``.
        bounds: ``2 d`` or ``*r 2 d``.
        num_samples: k, the members of the posterior: draws kept over all chains.
        warmup: transitions of each chain that only adapt the sampler.
        chains: chains for each data set; the draws are shared out evenly.
        thinning: transitions for each draw kept.
        max_depth: a transition takes at most ``2**max_depth - 1`` steps.
        noise_var: known noise variance in squared user units, as in `ExactGP`; default learnt.
        observed: which rows count, ``*r n``; default all.
        seed: an int, or one for each replicate.

    Attributes:
        samples: draws in the model's units (unit cube, standardised outputs): ``tau``,
            ``outputscale``, ``mean`` and ``noise_var`` (if learnt), each ``*r k m``, and
            ``lengthscale`` ``*r k m d``.
        sampling_report: `SamplingReport`, coordinates in the order of ``parameter_names``.
        members: an `ExactGP` with replicates ``*r k``: one for each draw.

    Raises:
        DataError: bad data (as `ExactGP`), or num_samples that the chains cannot share.
        ShapeError: shapes that do not belong together.

    Example:
        >>> from bolearn import sobol_points
        >>> box = torch.tensor([[0.0] * 4, [1.0] * 4], dtype=torch.float64)
        >>> X = sobol_points(box, n=16, seed=0)
        >>> Y = torch.sin(6 * X[:, 1:2])
        >>> model = SAASGP(X, Y, box, num_samples=64, warmup=64, seed=0)
        >>> model.median_lengthscale.argmin().item()  # input 1 is the one that matters
        1

    Source: Eriksson & Jankowiak, "High-dimensional Bayesian optimization with sparse axis-aligned
    subspaces", UAI 2021, arXiv:2103.00349, section 4.1; the priors of c, s and the noise are those
    of BoTorch's ``SaasFullyBayesianSingleTaskGP``, so that numbers compare.
    """

    X: Tensor
    Y: Tensor
    observed: Tensor
    members: ExactGP

    def __init__(
        self,
        X: Float[Tensor, "*r n d"],
        Y: Float[Tensor, "*r n m"],
        bounds: Float[Tensor, "*r2 2 d"],
        *,
        num_samples: int = 256,
        warmup: int = 256,
        chains: int = 4,
        thinning: int = 2,
        max_depth: int = 6,
        noise_var: Number | Tensor | None = None,
        observed: Bool[Tensor, "*r n"] | None = None,
        seed: seeds.Seed,
    ) -> None:
        super().__init__()
        for name, count in (("num_samples", num_samples), ("chains", chains)):
            check_count(name, count)
        if num_samples % chains or num_samples < 4 * chains:
            raise DataError(
                f"num_samples: expected a multiple of chains = {chains}, at least 4 for each, "
                f"got {num_samples}"
            )
        X, Y = check_data(X, Y, observed)
        data = ExactGP(X, Y, bounds, kernel=_kernel(X.shape[-1]), noise_var=noise_var,
                       observed=observed)  # fmt: skip
        for name in ("X", "Y", "observed"):
            self.register_buffer(name, getattr(data, name))
        self._given: dict[str, Any] = {"bounds": data.bounds, "noise_var": noise_var}
        density = SAASDensity(data, chains)
        start = density.starts(chains, seeds.derive_each(seed, "start"))
        found = nuts(
            density,
            start,
            num_samples=num_samples // chains,
            warmup=warmup,
            thinning=thinning,
            max_depth=max_depth,
            seed=_output_seeds(seeds.derive_each(seed, "nuts"), data),
        )
        self.sampling_report: SamplingReport = found.report
        self.parameter_names = density.names
        # *r m c t p -> *r k m p, members chain by chain
        theta = found.draws.flatten(-3, -2).transpose(-3, -2)
        self.samples = density.hyperparameters(theta)
        self.members = self._member_models()

    def _member_models(self) -> ExactGP:
        """One Gaussian process for each draw, replicates ``*r k``."""
        k = self.samples["tau"].shape[-2]
        X, Y, observed = (
            v.unsqueeze(-2 - own).expand(*self.batch_shape, k, *v.shape[v.ndim - 1 - own :])
            for v, own in ((self.X, 1), (self.Y, 1), (self.observed, 0))
        )
        bounds, noise = self._given["bounds"], self._given["noise_var"]
        if bounds.ndim > 2:
            bounds = bounds.unsqueeze(-3).expand(*self.batch_shape, k, *bounds.shape[-2:])
        if isinstance(noise, Tensor) and noise.ndim > 1:
            noise = noise.unsqueeze(-3)
        model = ExactGP(X, Y, bounds, kernel=_kernel(X.shape[-1]), noise_var=noise,
                        observed=observed)  # fmt: skip
        values = {name: v for name, v in self.samples.items() if name != "tau"}
        return model.with_hyperparameters(**values)

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
        return self.members.output_scale[..., 0, :]

    @property
    def median_lengthscale(self) -> Float[Tensor, "*r m d"]:
        """Median over the draws, in the unit cube: the shorter, the more an input matters."""
        return self.samples["lengthscale"].median(-3).values

    def posterior(
        self, X: Float[Tensor, "*batch q d"], *, observation_noise: bool = False
    ) -> MixturePosterior:
        """Belief about f (or, with ``observation_noise``, about a new observation) at X.

        Args:
            X: points in user units; see `ExactGP.posterior`.
            observation_noise: adds each member's noise variance.

        Returns:
            A mixture of k Gaussian posteriors, differentiable in X.

        Raises:
            DataError: points that are not finite float64 numbers.
            ShapeError: shapes that do not fit the model.
        """
        X = check_points(X, self.X.shape[-1], self.batch_shape)
        belief = self.members.posterior(X.unsqueeze(-3), observation_noise=observation_noise)
        return MixturePosterior(belief)

    def thinned(self, num_samples: int) -> "SAASGP":
        """The same model with fewer members, evenly spaced over all chains: faster to ask.

        Args:
            num_samples: how many; 16 to 64 serve an acquisition well.

        Raises:
            DataError: more than there are.
        """
        have = self.samples["tau"].shape[-2]
        if check_count("num_samples", num_samples) > have:
            raise DataError(f"num_samples: expected at most the {have} there are")
        pick = torch.arange(num_samples, device=self.X.device) * have // num_samples
        twin = copy.copy(self)
        twin._modules = {}
        axis = len(self.batch_shape)
        twin.samples = {name: v.index_select(axis, pick) for name, v in self.samples.items()}
        twin.members = twin._member_models()
        return twin

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SAASGP":
        """The model on another device, for ``model.to(...)``; this one stays where it is."""
        twin = copy.copy(self)
        twin._modules = {"members": self.members._apply(fn)}
        twin._buffers = {k: None if v is None else fn(v) for k, v in self._buffers.items()}
        twin.samples = {name: fn(v) for name, v in self.samples.items()}
        twin._given = {k: fn(v) if isinstance(v, Tensor) else v for k, v in self._given.items()}
        return twin

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        """Refuse to be loaded into.

        Raises:
            UnsupportedError: always.
        """
        refuse_loading(self)

    def extra_repr(self) -> str:
        """The data's shape and the number of members."""
        n, d = self.X.shape[-2:]
        k = self.samples["tau"].shape[-2]
        return f"replicates={tuple(self.batch_shape)}, n={n}, d={d}, m={self.num_outputs}, k={k}"


def _kernel(d: int) -> ScaleKernel:
    """s Matern-5/2, with the values themselves as parameters."""
    plain = Positive(transform=None, initial_value=1.0)
    base = MaternKernel(nu=2.5, ard_num_dims=d, lengthscale_constraint=plain)
    return ScaleKernel(base, outputscale_constraint=Positive(transform=None, initial_value=1.0))


def _output_seeds(seed: seeds.Seed, data: ExactGP) -> list[int]:
    """One seed for each replicate and output; those of a replicate depend on its own only."""
    each = seeds.replicate_seeds(seed, data.batch_shape)
    return [seeds.derive(s, "output", i) for s in each for i in range(data.num_outputs)]


class SAASDensity:
    """Log posterior of theta = (log tau, log b_1..d, c, log s, log(noise - floor)), with gradient.

    Row = data set * chains + chain; data sets are replicates x outputs.
    """

    def __init__(self, data: ExactGP, chains: int) -> None:
        self.lead, self.d, self.chains = (
            (*data.batch_shape, data.num_outputs),
            data.X.shape[-1],
            chains,
        )
        self.rows = PlainRows(data)
        self.rows.priors = LogPriors([], self.rows.lower)  # SAAS has its own
        self.learns_noise = data.noise is None
        self.names = ("tau", *(f"rho_{k}" for k in range(self.d)), "mean", "outputscale")
        self.names += ("noise_var",) * self.learns_noise

    def starts(self, chains: int, seed: seeds.Seed) -> Float[Tensor, "*r m c p"]:
        """Everything relevant a little, small noise; scattered over a factor e up and down."""
        typical = torch.zeros(len(self.names), dtype=torch.float64)
        typical[0] = math.log(TAU_SCALE)
        if self.learns_noise:
            typical[-1] = math.log(0.02)
        r = self.lead[:-1]
        shape = (self.lead[-1], chains, len(self.names))
        u = seeds.uniform(seeds.replicate_seeds(seed, r), shape, self.rows.X.device)
        return typical.to(u) + (2 * u - 1).reshape(*r, *shape)

    def hyperparameters(self, theta: Float[Tensor, "*b p"]) -> dict[str, Tensor]:
        """What theta stands for."""
        d = self.d
        found = {
            "tau": theta[..., 0].exp(),
            "lengthscale": torch.exp(-0.5 * (theta[..., :1] + theta[..., 1 : d + 1])),
            "mean": theta[..., d + 1].clone(),
            "outputscale": theta[..., d + 2].exp(),
        }
        if self.learns_noise:
            found["noise_var"] = NOISE_FLOOR + theta[..., d + 3].exp()
        return found

    def __call__(
        self, theta: Float[Tensor, "k p"], rows: Int[Tensor, "k"]
    ) -> tuple[Float[Tensor, "k"], Float[Tensor, "k p"]]:
        """Log posterior density (up to a constant) and its gradient; NaN where K is singular."""
        value, slope = self.log_prior(theta)
        fit, gradient = self.log_likelihood(theta, rows // self.chains)
        return value + fit, slope + gradient

    def log_prior(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Log density of theta (``k p``) and its gradient; up to a constant."""
        d = self.d
        t = theta[:, : d + 1].clone()
        t[:, 0] -= math.log(TAU_SCALE)
        c, log_s = theta[:, d + 1], theta[:, d + 2]
        s = log_s.exp()
        # x ~ HalfCauchy(a) has log x - log a distributed with density 1 / (pi cosh)
        value = -torch.logaddexp(t, -t).sum(-1) - 0.5 * c * c + 2 * log_s - 0.15 * s
        slopes = [-t.tanh(), -c.unsqueeze(-1), (2 - 0.15 * s).unsqueeze(-1)]
        if self.learns_noise:
            noise = theta[:, d + 3].exp()
            value = value + 0.9 * theta[:, d + 3] - 10 * noise
            slopes.append((0.9 - 10 * noise).unsqueeze(-1))
        return value, torch.cat(slopes, dim=-1)

    def log_likelihood(self, theta: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Log marginal likelihood of the data sets b (``k``) and its gradient in theta."""
        d, rows = self.d, self.rows
        log_l = -0.5 * (theta[:, :1] + theta[:, 1 : d + 1])
        mean = (theta[:, d + 1] - rows.shift[b]) / rows.unit[b]
        excess = theta[:, d + 3].exp() if self.learns_noise else None
        log_noise = None if excess is None else (NOISE_FLOOR + excess).log()
        at = rows._join(log_l, mean, log_noise, theta[:, d + 2])
        value, gradient = rows.value_and_gradient(at, rows.take(b))
        # of minus the log likelihood per observation, by log l, mean, log noise and log s
        value, gradient = -value * rows.n[b], -gradient * rows.n[b].unsqueeze(-1)
        g_l, g_mean, g_noise, g_s = rows._split(gradient)
        assert g_s is not None
        each = -0.5 * g_l
        slopes = [
            each.sum(-1, keepdim=True),
            each,
            (g_mean / rows.unit[b]).unsqueeze(-1),
            g_s.unsqueeze(-1),
        ]
        if excess is not None:
            assert g_noise is not None
            slopes.append((g_noise * excess / (NOISE_FLOOR + excess)).unsqueeze(-1))
        return value, torch.cat(slopes, dim=-1)
