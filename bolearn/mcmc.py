r"""The no-U-turn sampler for many chains and many targets at once.

A draw from exp(log density) by rolling a ball: give the current point a random momentum, follow the
frictionless motion for a while, and take a point of that path. *For how long* is what NUTS decides:
it doubles the path, forwards or backwards in time, until its ends begin to approach each other.

With inverse masses m, momentum p and step e, a step of the motion (leapfrog) is

    p <- p + e/2 grad(q),    q <- q + e m p,    p <- p + e/2 grad(q).

Chains share nothing but arithmetic: every leapfrog step is one call of the target for all chains
whose paths still grow. The chains of one target learn step and masses together.

Taught in part_5/tutorial_05.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from . import seeds
from .convergence import effective_sample_size, split_r_hat
from .errors import NumericsError, ShapeError
from .shapes import check_count, check_tensor

Target = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Log density ``k`` and gradient ``k p`` at points ``k p`` that belong to ``rows`` (``k``).

Row = target * chains + chain. What is not finite counts as probability zero.
"""

_DIVERGED = 1000.0  # a path whose energy is off by this much has left the motion it imitates


@dataclass(frozen=True, eq=False)
class SamplingReport:
    """Whether the draws can be trusted.

    Attributes:
        r_hat: split R-hat of each coordinate, ``*g p``; near 1 when the chains agree, above 1.05
            (Vehtari et al.: 1.01) they do not yet.
        ess: effective number of independent draws for each coordinate, ``*g p``.
        divergences: paths after the warm-up that left the motion, ``*g c``: regions that the step
            is too long for.
        saturated: paths that reached the longest length allowed, ``*g c``.
        acceptance: average acceptance probability along the paths, ``*g c``.
        step_size: ``*g``.
        evaluations: calls of the target (each for all chains still moving).
        points: points evaluated in total.
    """

    r_hat: Float[Tensor, "*g p"]
    ess: Float[Tensor, "*g p"]
    divergences: Int[Tensor, "*g c"]
    saturated: Int[Tensor, "*g c"]
    acceptance: Float[Tensor, "*g c"]
    step_size: Float[Tensor, "*g"]
    evaluations: int
    points: int

    def __str__(self) -> str:
        return (
            f"sampling: R-hat at most {self.r_hat.max().item():.3f}, effective sample size at "
            f"least {self.ess.min().item():.0f}, {int(self.divergences.sum())} divergences, "
            f"{int(self.saturated.sum())} paths of full length, {self.evaluations} batched "
            "evaluations"
        )


@dataclass(frozen=True, eq=False)
class Chains:
    """The draws ``*g c t p`` of c chains of t draws for each target, and the report."""

    draws: Float[Tensor, "*g c t p"]
    report: SamplingReport


@torch.no_grad()
def nuts(
    target: Target,
    start: Float[Tensor, "*g c p"],
    *,
    num_samples: int,
    warmup: int = 256,
    thinning: int = 1,
    max_depth: int = 8,
    target_accept: float = 0.8,
    seed: seeds.Seed,
) -> Chains:
    """Draw from unnormalised densities over p unbounded coordinates.

    Args:
        target: log density and gradient; see `Target`.
        start: where c chains of each target ``*g`` begin. Scale the coordinates so that spreads
            are about 1 (logarithms of positive quantities); the rest is learnt in the warm-up.
        num_samples: draws kept of each chain.
        warmup: transitions that adapt step and masses; none is kept.
        thinning: only every ``thinning``-th transition is kept.
        max_depth: a path has at most 2**max_depth - 1 steps.
        target_accept: acceptance probability that the step is adapted to.
        seed: an int, or one for each target.

    Returns:
        Draws and report.

    Raises:
        DataError: counts below 1, a bad seed, a start that is not finite float64.
        ShapeError: start without an axis of chains.
        NumericsError: the density or its gradient is not finite where a chain starts.

    Example:
        >>> normal = lambda q, rows: (-0.5 * q.square().sum(-1), -q)
        >>> start = torch.zeros(4, 2, dtype=torch.float64)
        >>> chains = nuts(normal, start, num_samples=250, seed=0)
        >>> chains.draws.shape, bool(chains.draws.var() > 0.8)
        (torch.Size([4, 250, 2]), True)

    Source: Hoffman & Gelman, "The no-U-turn sampler", JMLR 15, 2014, arXiv:1111.4246 (doubling,
    U-turn criterion, dual averaging); Betancourt, "A conceptual introduction to Hamiltonian Monte
    Carlo", 2017, arXiv:1701.02434, appendix A (multinomial choice of the point).
    """
    counts = {"num_samples": num_samples, "thinning": thinning, "max_depth": max_depth}
    for name, count in counts.items():
        check_count(name, count)
    check_count("warmup", warmup, 20)
    check_tensor("start", start)
    if start.ndim < 2 or 0 in start.shape:
        raise ShapeError(f"start: expected shape *g chains p, got {tuple(start.shape)}")
    *g, c, p = start.shape
    G, N = math.prod(g), math.prod(g) * c
    streams = [
        seeds.derive(stream, "chain", i)
        for stream in seeds.replicate_seeds(seed, g)
        for i in range(c)
    ]
    counted = _Counted(target)
    point = _first(counted, start.reshape(N, p).clone())
    tuning = _Tuning(G, p, warmup, target_accept, start)
    kept = start.new_empty(N, num_samples, p)
    divergences, saturated, acceptance = (start.new_zeros(N) for _ in range(3))
    for t in range(warmup + num_samples * thinning):
        # momenta, then for each doubling a direction, a point and whether it is taken
        u = seeds.uniform([seeds.derive(s, t) for s in streams], (p + 3 * max_depth,), start.device)
        step, masses = (v.repeat_interleave(c, dim=0) for v in (tuning.step, tuning.inverse_mass))
        moved = _transition(counted, point, step, masses, u, max_depth)
        point = moved.point
        if t < warmup:
            tuning.learn(t, moved.acceptance.view(G, c), point.q.view(G, c, p))
            continue
        after = t - warmup
        divergences += moved.diverged
        saturated += moved.saturated
        acceptance += moved.acceptance
        if after % thinning == thinning - 1:
            kept[:, after // thinning] = point.q
    draws = kept.reshape(*g, c, num_samples, p)
    report = SamplingReport(
        r_hat=split_r_hat(draws),
        ess=effective_sample_size(draws),
        divergences=divergences.long().view(*g, c),
        saturated=saturated.long().view(*g, c),
        acceptance=(acceptance / (num_samples * thinning)).view(*g, c),
        step_size=tuning.step.view(g),
        evaluations=counted.evaluations,
        points=counted.points,
    )
    return Chains(draws, report)


def _first(target: "_Counted", q: Tensor) -> "_Points":
    """The places where the chains begin.

    Raises:
        NumericsError: the density or its gradient is not finite in one of them.
    """
    point = _Points(q, *target(q, torch.arange(len(q), device=q.device)))
    if not torch.isfinite(point.value).all() or not torch.isfinite(point.gradient).all():
        raise NumericsError(
            "start: expected points of positive density with a finite gradient, got "
            f"log densities {point.value.tolist()[:4]}; start the chains elsewhere"
        )
    return point


class _Counted:
    """A target that counts its calls; zero density where anything is not finite."""

    def __init__(self, target: Target) -> None:
        self.target, self.evaluations, self.points = target, 0, 0

    def __call__(self, q: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        self.evaluations += 1
        self.points += len(rows)
        value, gradient = self.target(q, rows)
        sound = torch.isfinite(value + gradient.sum(-1))
        return torch.where(sound, value, -torch.inf), gradient


@dataclass(eq=False)
class _Points:
    """Places of some chains: position ``k p``, log density ``k``, its gradient ``k p``."""

    q: Tensor
    value: Tensor
    gradient: Tensor

    def copy(self) -> "_Points":
        """The same places in tensors of their own."""
        return _Points(self.q.clone(), self.value.clone(), self.gradient.clone())

    def at(self, *where: int | Tensor) -> "_Points":
        """Some of the places."""
        return _Points(self.q[where], self.value[where], self.gradient[where])

    def put(self, rows: Tensor, other: "_Points", take: Tensor) -> None:
        """Move those of ``rows`` that ``take`` says to the places ``other``."""
        rows = rows[take]
        self.q[rows], self.value[rows] = other.q[take], other.value[take]
        self.gradient[rows] = other.gradient[take]


@dataclass(eq=False)
class _Ends:
    """Ends of some paths: places, and the momenta there (always those of time running forward)."""

    point: _Points
    momentum: Tensor

    @staticmethod
    def where(first: Tensor, a: "_Ends", b: "_Ends", rows: Tensor) -> "_Ends":
        """Of ``rows``, the ends in ``a`` or else those in ``b``."""

        def choose(x: Tensor, y: Tensor) -> Tensor:
            return torch.where(first.view(-1, *(1,) * (x.ndim - 1)), x[rows], y[rows])

        pairs = zip(
            (a.point.q, a.point.value, a.point.gradient, a.momentum),
            (b.point.q, b.point.value, b.point.gradient, b.momentum),
            strict=True,
        )
        q, value, gradient, momentum = (choose(x, y) for x, y in pairs)
        return _Ends(_Points(q, value, gradient), momentum)


@dataclass(eq=False)
class _Moved:
    """Where a transition led, and what it met, for each of N chains."""

    point: _Points
    acceptance: Tensor
    diverged: Tensor
    saturated: Tensor


def _transition(
    target: _Counted,
    start: _Points,
    step: Tensor,  # N
    inverse_mass: Tensor,  # N p
    u: Tensor,  # N and p + 3 max_depth uniform numbers
    max_depth: int,
) -> _Moved:
    """One transition of N chains: a path grown by doubling, and a point drawn from it."""
    p = start.q.shape[1]
    momentum = torch.special.ndtri(u[:, :p]) / inverse_mass.sqrt()
    coin, pick, merge = u[:, p:].split(max_depth, dim=1)
    energy = _kinetic(momentum, inverse_mass) - start.value
    past, future = (_Ends(start.copy(), momentum.clone()) for _ in range(2))
    chosen = start.copy()
    log_weight = torch.zeros_like(energy)  # log sum of exp(energy at the start - energy) of a path
    accept, leaves, diverged = (torch.zeros_like(energy) for _ in range(3))
    active = torch.arange(len(energy), device=u.device)
    for depth in range(max_depth):
        forward = coin[active, depth] < 0.5
        begin = _Ends.where(forward, future, past, active)
        tree = _grow(
            target, active, begin, energy, torch.where(forward, step[active], -step[active]),
            inverse_mass[active], pick[active, depth], 1 << depth,
        )  # fmt: skip
        accept[active] += tree.accept
        leaves[active] += tree.leaves
        diverged[active] += tree.diverged
        rows, forward = active[tree.alive], forward[tree.alive]
        # The new half is preferred: its point is taken with probability min(1, new / old weight).
        take = merge[rows, depth].log() < tree.log_weight - log_weight[rows]
        chosen.put(rows, tree.chosen, take)
        log_weight[rows] = torch.logaddexp(log_weight[rows], tree.log_weight)
        for side, mine in ((future, forward), (past, ~forward)):
            side.point.put(rows, tree.end.point, mine)
            side.momentum[rows[mine]] = tree.end.momentum[mine]
        turned = _turns(
            past.point.q[rows], past.momentum[rows], future.point.q[rows], future.momentum[rows]
        )
        active = rows[~turned]
        if not len(active):
            break
    saturated = torch.zeros_like(energy).index_fill(0, active, 1.0)
    return _Moved(chosen, accept / leaves, diverged, saturated)


@dataclass(eq=False)
class _Tree:
    """New halves of paths. Fields below ``alive`` have only the rows that neither turned nor
    diverged, the others all rows."""

    accept: Tensor  # sum of acceptance probabilities
    leaves: Tensor  # number of steps
    diverged: Tensor
    alive: Tensor  # which rows are complete
    end: _Ends
    chosen: _Points
    log_weight: Tensor


def _grow(
    target: _Counted,
    rows: Tensor,  # k: which chains
    begin: _Ends,
    energy: Tensor,  # N: where the paths started
    step: Tensor,  # k, negative backwards in time
    inverse_mass: Tensor,  # k p
    u: Tensor,  # k
    count: int,
) -> _Tree:
    """``count`` steps on from ``begin``, and one of the points reached, drawn by its weight.

    A row whose path turns or diverges on the way is given up at once.
    """
    x, g, m = begin.point.q, begin.point.gradient, begin.momentum
    (k, p), sign = x.shape, step.sign()
    path = _Points(x.new_empty(count, k, p), x.new_empty(count, k), x.new_empty(count, k, p))
    momenta = torch.empty_like(path.q)
    gains = x.new_full((count, k), -torch.inf)  # log weights of the leaves
    leaves, diverged = x.new_zeros(k), x.new_zeros(k)
    alive = torch.arange(k, device=x.device)
    e, mass, initial = step.unsqueeze(-1), inverse_mass, energy[rows]
    for n in range(count):
        m = torch.addcmul(m, e, g, value=0.5)
        x = torch.addcmul(x, e, mass * m)
        value, g = target(x, rows)
        m = torch.addcmul(m, e, g, value=0.5)
        gain = initial + value - _kinetic(m, mass)
        path.q[n, alive], path.value[n, alive], path.gradient[n, alive] = x, value, g
        momenta[n, alive], gains[n, alive], leaves[alive] = m, gain, n + 1.0
        lost = ~(gain > -_DIVERGED)  # NaN, too
        diverged[alive] = lost.to(gain)
        # Every aligned block of 2, 4, 8, ... leaves that ends here is a path of its own.
        size = 2
        while (n + 1) % size == 0:
            first = n + 1 - size
            lost |= _turns(path.q[first, alive], momenta[first, alive], x, m, sign[alive])
            size *= 2
        if lost.any():
            keep = ~lost
            alive, rows, initial = alive[keep], rows[keep], initial[keep]
            x, g, m, e, mass = x[keep], g[keep], m[keep], e[keep], mass[keep]
            if not len(alive):
                break
    gains = gains.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    weights = gains[:, alive].softmax(0).cumsum(0)
    drawn = (weights < u[alive]).sum(0).clamp(max=count - 1)
    return _Tree(
        accept=gains.clamp(max=0).exp().sum(0),
        leaves=leaves,
        diverged=diverged,
        alive=alive,
        end=_Ends(path.at(-1, alive), m),
        chosen=path.at(drawn, alive),
        log_weight=gains[:, alive].logsumexp(0),
    )


def _turns(a: Tensor, p_a: Tensor, b: Tensor, p_b: Tensor, sign: Tensor | None = None) -> Tensor:
    """Whether going on at either end of a path would bring its ends nearer to each other.

    (b - a) . p_a <= 0 or (b - a) . p_b <= 0, for the path from a to b (backwards: sign = -1).
    """
    span = b - a if sign is None else (b - a) * sign.unsqueeze(-1)
    back: Tensor = (torch.linalg.vecdot(span, p_a) <= 0) | (torch.linalg.vecdot(span, p_b) <= 0)
    return back


def _kinetic(momentum: Tensor, inverse_mass: Tensor) -> Tensor:
    """p^T M^-1 p / 2."""
    energy: Tensor = 0.5 * torch.linalg.vecdot(momentum * inverse_mass, momentum)
    return energy


class _Tuning:
    """Step sizes ``G`` and inverse masses ``G p``, learnt by all chains of a target together.

    Steps by dual averaging of log e towards the acceptance wanted; masses from the variances of
    the draws in windows that double, after each of which the steps are learnt afresh.
    """

    def __init__(self, G: int, p: int, warmup: int, wanted: float, like: Tensor) -> None:
        self.wanted = wanted
        self.inverse_mass = like.new_ones(G, p)
        self.step = like.new_full((G,), 0.1)
        self.ends = _windows(warmup)
        self.last = warmup - 1
        self.begin = int(0.15 * warmup)
        self.seen: list[Tensor] = []
        self._restart()

    def _restart(self) -> None:
        self.centre = (2 * self.step).log()  # the step is known to a factor; try larger ones
        self.error, self.average = torch.zeros_like(self.step), self.step.log()
        self.count = 0

    def learn(self, t: int, acceptance: Float[Tensor, "G c"], q: Float[Tensor, "G c p"]) -> None:
        """Take note of transition t of the warm-up."""
        self.count += 1
        i = self.count
        # Hoffman & Gelman 2014, equation 6, with their gamma = 0.05, t0 = 10, kappa = 0.75
        w = 1 / (i + 10)
        self.error = (1 - w) * self.error + w * (self.wanted - acceptance.mean(-1))
        log_step = self.centre - math.sqrt(i) / 0.05 * self.error
        share = i**-0.75
        self.average = share * log_step + (1 - share) * self.average
        self.step = log_step.exp()
        if self.begin <= t <= self.ends[-1]:
            self.seen.append(q)
        if t in self.ends:
            draws = torch.cat(self.seen, dim=1)
            n = draws.shape[1]
            # shrunk towards a small constant, as in Stan, while draws are few
            self.inverse_mass = (n * draws.var(1) + 5e-3) / (n + 5)
            self.seen = []
            self.step = self.average.exp()
            self._restart()
        if t == self.last:
            self.step = self.average.exp()


def _windows(warmup: int) -> list[int]:
    """Last transitions of the windows for the masses: 15 % in, doubling, until 85 %."""
    begin, stop = int(0.15 * warmup), int(0.85 * warmup)
    ends, at, size = [], begin, max(10, warmup // 10)
    while at + 3 * size <= stop:  # else the next window would not fit: make this one the last
        at += size
        ends.append(at - 1)
        size *= 2
    return [*ends, stop - 1]
