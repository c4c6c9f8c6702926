"""Programs that are right by an exercise's statement, written without its check in sight.

Loops, other formulas, NumPy and SciPy, other types: whatever a learner may do, passes.
"""

import cmath
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import linalg, optimize, stats

from bolearn import teach
from bolearn.teach import exercises

F64 = torch.float64
PROGRAMS = []


def right(exercise_id):
    """Register a right program."""

    def register(fn):
        PROGRAMS.append((exercise_id, fn))
        return fn

    return register


@pytest.mark.parametrize(
    "exercise_id, fn", PROGRAMS, ids=[f"{i}-{fn.__name__}" for i, fn in PROGRAMS]
)
def test_a_right_program_passes(exercise_id, fn):
    result = teach.evaluate(exercises.find(exercise_id), fn)
    assert result.status == "passed", str(result)


# --- 2.3 --------------------------------------------------------------------------------------


@right("p2.t3.e1")
def by_eigenvalues(lr, beta, lams):
    M = torch.zeros(*lams.shape, 2, 2, dtype=lams.dtype)
    M[..., 0, 0], M[..., 0, 1], M[..., 1, 0] = 1 + beta - lr * lams, -beta, 1.0
    # A double root is right to half of the digits only: mend it by the product of the roots.
    size = torch.linalg.eigvals(M).abs().amax(-1)
    D = (1 + beta - lr * lams) ** 2 - 4 * beta
    return torch.where(D.abs() < 1e-9, abs(beta) ** 0.5 + 0 * size, size).amax(-1)


@right("p2.t3.e1")
def by_a_python_loop(lr, beta, lams):
    result = []
    for row in lams.reshape(-1, lams.shape[-1]).tolist():
        sizes = []
        for lam in row:
            b = 1 + beta - lr * lam
            root = cmath.sqrt(b * b - 4 * beta)
            sizes += [abs((b + root) / 2), abs((b - root) / 2)]
        result.append(max(sizes))
    return torch.tensor(result, dtype=F64).reshape(lams.shape[:-1])


@right("p2.t3.e1")
def in_numpy(lr, beta, lams):
    b = 1 + beta - lr * lams.numpy()
    root = np.sqrt((b * b - 4 * beta).astype(complex))
    return np.maximum(abs(b + root), abs(b - root)).max(-1) / 2


@right("p2.t3.e1")
def complex_tensors(lr, beta, lams):
    b = 1 + beta - lr * lams
    root = torch.sqrt((b**2 - 4 * beta).to(torch.complex128))
    both = torch.stack([(b + root) / 2, (b - root) / 2])
    return both.abs().amax(0).amax(-1)


@right("p2.t3.e1")
def by_numpys_eigenvalues(lr, beta, lams):
    sizes = np.empty(lams.shape)
    for at in np.ndindex(*lams.shape):
        M = [[1 + beta - lr * float(lams[at]), -beta], [1, 0]]
        sizes[at] = abs(np.linalg.eigvals(M)).max()
    return sizes.max(-1)


@right("p2.t3.e2")
def by_condition_number(L, mu):
    k = math.sqrt(L / mu)
    return (2 / (math.sqrt(L) + math.sqrt(mu))) ** 2, ((k - 1) / (k + 1)) ** 2


@right("p2.t3.e2")
def tensors_without_axes(L, mu):
    a, b = torch.tensor(L, dtype=F64).sqrt(), torch.tensor(mu, dtype=F64).sqrt()
    root = (a - b) / (a + b)
    return (1 + root**2) * 2 / (L + mu), root**2


@right("p2.t3.e2")
def a_list_of_numpy_numbers(L, mu):
    a, b = np.sqrt([L, mu])
    return [4 / (a + b) ** 2, (a - b) ** 2 / (a + b) ** 2]


@right("p2.t3.e2")
def by_golden_section(L, mu):
    def left(root):  # the two edges meet at one rate
        lr = (1 + root) ** 2 / L
        h = lr * mu
        D = (1 + root**2 - h) ** 2 - 4 * root**2
        return root if D <= 0 else (abs(1 + root**2 - h) + math.sqrt(D)) / 2

    low, high = 0.0, 1.0
    for _ in range(200):
        a, b = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, b) if left(a) <= left(b) else (a, high)
    return (1 + low) ** 2 / L, low**2


@right("p2.t3.e3")
def in_place(grad, x0, lr, beta, steps):
    ys = torch.empty(steps + 1, *x0.shape, dtype=x0.dtype)
    ys[0], last = x0, x0.clone()
    for t in range(steps):
        x = ys[t] - lr * grad(ys[t])
        ys[t + 1] = x + beta * (x - last)
        last = x
    return ys


@right("p2.t3.e3")
def by_a_velocity(grad, x0, lr, beta, steps):
    y, v, ys = x0, torch.zeros_like(x0), [x0]
    for _ in range(steps):
        step = -lr * grad(y)
        moved = v + step  # x_{t+1} - x_t, because y_t = x_t + v
        y, v = y + step + beta * moved, beta * moved
        ys.append(y)
    return torch.stack(ys, dim=0)


@right("p2.t3.e3")
def numpy_outside_grad(grad, x0, lr, beta, steps):
    x = y = x0.numpy()
    ys = [y]
    for _ in range(steps):
        new = y - lr * grad(torch.tensor(y)).numpy()
        x, y = new, new + beta * (new - x)
        ys.append(y)
    return np.stack(ys)


@right("p2.t3.e4")
def restart_by_angle_to_the_velocity(grad, x0, L, steps):
    x, v, theta = x0.clone(), torch.zeros_like(x0), 1.0
    for _ in range(steps):
        y = x + v
        g = grad(y)
        new = y - g / L
        if torch.dot(g, new - x) > 0:
            theta = 1.0
        after = (1 + math.sqrt(1 + 4 * theta**2)) / 2
        v = (theta - 1) / after * (new - x)
        x, theta = new, after
    return x


@right("p2.t3.e4")
def stops_where_nothing_changes(grad, x0, L, steps):
    x, y, k = x0, x0, 0
    for _ in range(steps):
        g = grad(y)
        if not g.any():
            return y
        new = y - g / L
        k = 0 if (g @ (new - x)).item() > 0 else k + 1
        y, x = new + (k / (k + 3)) * (new - x), new
    return x.numpy()


@right("p2.t3.e5")
def from_the_polynomial(lam, period, rate):
    z = cmath.rect(rate, 2 * math.pi / period)
    beta = (z * z.conjugate()).real
    return ((1 + beta) - (z + z.conjugate()).real) / lam, beta


@right("p2.t3.e5")
def by_value_at_one(lam, period, rate):
    return abs(1 - rate * np.exp(2j * np.pi / period)) ** 2 / lam, np.float64(rate) ** 2


# --- 2.4 --------------------------------------------------------------------------------------


@right("p2.t4.e2")
def counts_where_it_can(p, target):
    if target <= 0:
        return 0
    if p <= 0:
        return float("inf")
    if p >= 1:
        return np.int64(1)
    n = max(1, int(math.log1p(-target) / math.log1p(-p)) - 2)
    while math.exp(n * math.log1p(-p)) > (1 - target) * (1 + 1e-9):
        n += 1
    return n


@right("p2.t4.e2")
def whole_floats(p, target):
    if target == 0:
        return 0
    if p in (0, 1):
        return 1 if p else math.inf
    needed = (np.log1p(-target) + 1e-9) / np.log1p(-p)
    return int(np.ceil(needed))


@right("p2.t4.e3")
def by_scipys_lyapunov(A, lr, S):
    M = np.eye(len(A)) - lr * A.numpy()
    if abs(np.linalg.eigvalsh(M)).max() >= 1:
        raise ValueError("it diverges")
    # C A + A C - lr A C A = lr S, as Sylvester's equation: the identity does not cancel
    B = A.numpy()
    P = np.linalg.inv(np.eye(len(A)) - lr / 2 * B) @ B
    K = np.linalg.inv(np.eye(len(A)) - lr / 2 * B)
    C = linalg.solve_continuous_lyapunov(P, lr * K @ S.numpy() @ K)
    return C, 0.5 * np.trace(B @ C)


@right("p2.t4.e3")
def entry_by_entry(A, lr, S):
    lam, Q = np.linalg.eigh(A.numpy())
    if lr * lam.max() >= 2:
        raise ValueError("lr is too large")
    N, C = Q.T @ S.numpy() @ Q, np.zeros((len(lam), len(lam)))
    for i, j in itertools.product(range(len(lam)), repeat=2):
        C[i, j] = lr * N[i, j] / (lam[i] + lam[j] - lr * lam[i] * lam[j])
    return torch.tensor(Q @ C @ Q.T), torch.tensor((lam * C.diagonal()).sum() / 2)


@right("p2.t4.e4")
def with_logarithms_in_place(f, x0, schedule, budget, width, seed):
    g = torch.Generator().manual_seed(seed + 17)
    x, now = x0.clone(), f(x0).clone()
    best, low = x.clone(), now.clone()
    for k in range(budget - 1):
        new = torch.normal(x, width, generator=g)
        then, tau = f(new), schedule(k / budget)
        log_u = torch.empty_like(now).uniform_(generator=g).log()
        go = (then <= now) if tau == 0 else (then <= now) | (tau * log_u < now - then)
        x[go], now[go] = new[go], then[go]
        better = now < low
        best[better], low[better] = x[better], now[better]
    return best, low


# --- 2.5 --------------------------------------------------------------------------------------


def rows(x, count):
    return x.reshape(-1, count) if x.numel() else x.reshape(0, count)


@right("p2.t5.e1")
def explicit_matrices(g, S, Y):
    d, k = g.shape[-1], len(S)
    G = rows(g, d)
    T, U = S.reshape(k, len(G), d), Y.reshape(k, len(G), d)
    out = torch.empty_like(G)
    for r in range(len(G)):
        pairs = [(T[i, r], U[i, r]) for i in range(k)]
        pairs = [(s, y) for s, y in pairs if s @ y > 1e-10 * s.norm() * y.norm()]
        gamma = (pairs[-1][0] @ pairs[-1][1]) / (pairs[-1][1] @ pairs[-1][1]) if pairs else 1.0
        v, back = G[r], []
        for s, y in pairs[::-1]:
            a = (s @ v) / (s @ y)
            v, back = v - a * y, [a, *back]
        v = gamma * v
        for (s, y), a in zip(pairs, back, strict=True):
            v = v + (a - (y @ v) / (s @ y)) * s
        out[r] = v
    return out.reshape(g.shape)


@right("p2.t5.e2")
def row_by_row(f, x, g, p):
    powers = 2.0 ** -torch.arange(31, dtype=F64)
    powers = powers.reshape(-1, *(1,) * (x.ndim - 1))
    slope = (g * p).sum(-1)
    values = torch.stack([f(x + eta * p) for eta in powers.unsqueeze(-1)])
    fine = (values <= f(x) + 1e-4 * powers * slope) & (slope < 0) & (values.abs() < math.inf)
    first = fine.double().argmax(0)
    return torch.where(fine.any(0), 0.5 ** first.double(), 0.0)


@right("p2.t5.e3")
def by_clamp(x, lo, hi):
    return x.clamp(lo, hi) if x.ndim else x


@right("p2.t5.e3")
def by_numpy(x, lo, hi):
    return np.clip(x.numpy(), lo.numpy(), hi.numpy())


@right("p2.t5.e3")
def by_where(x, lo, hi):
    x, lo, hi = torch.broadcast_tensors(x, lo, hi)
    return torch.where(x < lo, lo, torch.where(x > hi, hi, x))


# --- 3.4 --------------------------------------------------------------------------------------


@right("p3.t4.e2")
def by_the_lines_envelope(mean, cov, noise_var, i):
    """Exactly: the upper envelope of lines a + b Z, and E max = sum of kinks times h."""
    a, variance = mean.numpy(), float(cov[i, i]) + noise_var
    if variance <= 0:
        return 0 * mean[0]
    b = cov[:, i].numpy() / math.sqrt(variance)
    order = np.lexsort((a, b))
    a, b = a[order], b[order]
    keep = np.append(np.diff(b) > 0, True)  # of parallel lines the highest
    a, b = a[keep], b[keep]
    stack, cuts = [0], [-math.inf]
    for j in range(1, len(a)):
        while True:
            k = stack[-1]
            z = (a[k] - a[j]) / (b[j] - b[k])
            if z > cuts[-1]:
                break
            stack.pop(), cuts.pop()
        stack.append(j), cuts.append(z)
    edges = [*cuts, math.inf]
    total = 0.0
    for n, k in enumerate(stack):
        low, high = edges[n], edges[n + 1]
        mass = stats.norm.cdf(high) - stats.norm.cdf(low)
        total += a[k] * mass + b[k] * (stats.norm.pdf(low) - stats.norm.pdf(high))
    return torch.tensor(total, dtype=F64) - mean.max()


@right("p3.t4.e2")
def by_many_quantiles(mean, cov, noise_var, i):
    variance = cov[i, i] + noise_var
    if variance == 0:
        return np.float64(0.0)
    Z = np.linspace(-8, 8, 20_001)
    s = (cov[:, i] / variance.sqrt()).numpy()
    top = np.max(mean.numpy()[:, None] + s[:, None] * Z, axis=0) - mean.max().item()
    return np.trapezoid(top * stats.norm.pdf(Z), Z)


@right("p3.t4.e3")
def with_a_numpy_generator(mean, cov, count, seed):
    rng = np.random.default_rng(seed)
    lam, V = np.linalg.eigh(cov.numpy())
    L = V * np.sqrt(np.maximum(lam, 0))
    return (mean.numpy() + rng.standard_normal((count, len(mean))) @ L.T).argmax(1)


@right("p3.t4.e4")
def with_sets_and_loops(f, places, n_init, n_iter, believe, acq, seed, maximize=True):
    if n_init < 1:
        raise ValueError("n_init")
    if n_init + n_iter > len(places):
        raise ValueError("too many")
    rng = np.random.default_rng(seed)
    taken = rng.choice(len(places), n_init, replace=False).tolist()
    values = list(f(places[taken]))
    for _ in range(n_iter):
        y = torch.stack(values)
        y = y if maximize else -y
        z = y - y.mean()
        if len(y) > 1 and y.std() > 0:
            z = z / y.std()
        mu, sigma = believe(places[taken], z, places)
        score = acq(mu, sigma, z.max())
        rest = [k for k in range(len(places)) if k not in taken]
        taken.append(max(rest, key=lambda k: float(score[k])))
        values.append(f(places[taken[-1:]])[0])
    return places[taken], torch.stack(values)


@right("p3.t4.e5")
def straight_down_from_the_spread(t, n_iter, spread):
    return spread * (1 - t / n_iter)


@right("p3.t4.e5")
def straight_down_to_nothing(t, n_iter, spread):
    left = 1 if n_iter == 1 else 1 - t / (n_iter - 1)
    return np.float64(0.7 * spread * left)


# --- 3.5 --------------------------------------------------------------------------------------


@right("p3.t5.e2")
def by_scipys_likelihood(y):
    flat = y.reshape(-1, y.shape[-1]).numpy()
    powers, bent = [], []
    for row in flat:
        u = (row - row.mean()) / row.std(ddof=1)
        p = optimize.minimize_scalar(
            lambda p, u=u: -stats.yeojohnson_llf(p, u), bounds=(-1, 3), method="bounded"
        ).x
        powers.append(p)
        bent.append(stats.yeojohnson(u, p))
    return np.array(bent).reshape(y.shape), np.array(powers).reshape(y.shape[:-1])


@right("p3.t5.e3")
def window_of_lows(history, log_tol, patience):
    if patience < 1:
        raise ValueError("patience")
    T = history.shape[-1]
    if patience > T:
        return torch.full(history.shape[:-1], T, dtype=torch.int64)
    low = (history < log_tol).unfold(-1, patience, 1).all(-1)
    return torch.where(low.any(-1), low.int().argmax(-1) + patience - 1, T)


@right("p3.t5.e3")
def in_python(history, log_tol, patience):
    if patience < 1:
        raise ValueError("patience")
    ends = []
    for row in history.reshape(-1, history.shape[-1]).tolist():
        run, end = 0, len(row)
        for t, value in enumerate(row):
            run = run + 1 if value < log_tol else 0
            if run == patience:
                end = t
                break
        ends.append(end)
    return np.array(ends, dtype=np.int64).reshape(history.shape[:-1])


# --- 4.2 --------------------------------------------------------------------------------------


@right("p4.t2.e1")
def with_six_terms_below_two_hundred(z):
    near, middle, far = z.clamp(min=-2.0), z.clamp(-200.0, -2.0), z.clamp(max=-200.0)
    constant = 0.5 * math.log(2 * math.pi)
    cdf = 0.5 * torch.erfc(-near / math.sqrt(2))
    book = (torch.exp(-0.5 * near**2 - constant) + near * cdf).log()
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(-middle / math.sqrt(2))
    w, series = far**-2, 1.0
    for k in (11, 9, 7, 5, 3):
        series = 1 - k * w * series
    left = torch.where(z < -200, (w * series).log(), torch.log1p(middle * mills))
    return torch.where(z > -2, book, left - 0.5 * z.clamp(max=-2.0) ** 2 - constant)


@right("p4.t2.e3")
def by_a_loop_over_entries(mean, sd, *, beta=None, kappa=None):
    given = [v for v in (beta, kappa) if v is not None]
    if len(given) != 1 or math.isnan(given[0]) or given[0] < 0:
        raise ValueError("one of the two, at least 0")
    width = kappa if beta is None else beta**0.5
    pairs = zip(mean.flatten(), sd.flatten(), strict=True)
    return torch.stack([m + width * s for m, s in pairs]).reshape(mean.shape)


@right("p4.t2.e5")
def by_a_race_of_exponential_times(X, values, n, eta, seed):
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(np.isfinite(values.numpy()))
    level = values.numpy()[rows]
    spread = level.std()
    logits = eta * (level - level.mean()) / spread if level.max() > level.min() else 0 * level
    arrival = np.log(rng.exponential(size=len(rows))) - logits  # the first to come is drawn first
    best = level.argmax()
    order = [i for i in np.argsort(arrival) if i != best]
    return X[torch.from_numpy(rows[[best, *order[: n - 1]]])]
