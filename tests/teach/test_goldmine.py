"""The gold mine: the page's numbers against bolearn, mpmath and SciPy; its behaviour; its sessions.

The page's own script is run under Node.js and in Chromium. What needs a program that is not
installed is skipped.
"""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chromium
import mpmath
import numpy as np
import pytest
import scipy.optimize
import torch
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.means import ConstantMean

import bolearn as bl
from bolearn.errors import DataError
from bolearn.teach import explorables, goldmine

NODE = shutil.which("node")
needs_browser = pytest.mark.skipif(chromium.PROGRAM is None, reason="Chromium is not installed")
TRUTHS = {
    "gold": bl.problems.GoldMine1d,
    "two_scale": bl.problems.TwoScale1d,
    "needle": bl.problems.Needle1d,
    "step": bl.problems.Step1d,
}
Compute = Callable[[str], Any]


def column(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


def worst(found: Any, wanted: Any) -> float:
    a, b = np.asarray(found, dtype=float), np.asarray(wanted, dtype=float)
    assert a.shape == b.shape and a.size > 0
    return float(np.max(np.abs(a - b)))


@pytest.fixture(params=["node", "chromium"])
def compute(request: pytest.FixtureRequest, tmp_path: Path) -> Compute:
    """The value of an expression in the names of the page's model, as JSON gives it."""
    if request.param == "chromium":
        if chromium.PROGRAM is None:
            pytest.skip("Chromium is not installed")
        window = request.getfixturevalue("browser")
        file = tmp_path / "goldmine.html"
        file.write_text(explorables.page("goldmine"), encoding="utf-8")
        window.open(file)
        return lambda expression: json.loads(window.run(f"JSON.stringify({expression})"))
    if NODE is None:
        pytest.skip("Node.js is not installed")
    node = NODE
    text = (explorables.FOLDER / "goldmine.html").read_text(encoding="utf-8")
    model = re.search(r'<script id="model">(.*?)</script>', text, re.DOTALL)
    assert model is not None
    script = model[1]

    def by_node(expression: str) -> Any:
        file = tmp_path / "numbers.js"
        code = f"'use strict';{script}\nconsole.log(JSON.stringify({expression}));"
        file.write_text(code, encoding="utf-8")
        done = subprocess.run([node, str(file)], capture_output=True, check=True)
        return json.loads(done.stdout)

    return by_node


# ------------------------------------------------------------------ the numbers


def test_the_normal_distribution_is_right_to_the_last_digits(compute: Compute) -> None:
    u = [-300.0, -40.0, -13.0, -8.0, -3.0, -1.6, -1.5, -1.4999, -0.7, -1e-9, 0.0, 0.3, 1.6, 5.0]
    found = compute(f"{u}.map(u => [Phi(u), logPhi(u), h(u), logH(u)])")
    with mpmath.workdps(60):
        for x, values in zip(u, found, strict=True):
            p = mpmath.erfc(-mpmath.mpf(x) / mpmath.sqrt(2)) / 2
            # phi + u Phi, with digits enough for the cancellation in the tail
            h = mpmath.npdf(x) + mpmath.mpf(x) * p
            for value, wanted in zip(values, (p, mpmath.log(p), h, mpmath.log(h)), strict=True):
                tiny = mpmath.mpf(10) ** -306  # smaller numbers have no digits, or are zero
                assert abs(value - wanted) <= 2e-14 * max(abs(wanted), tiny), (x, value)


def models() -> list[dict[str, Any]]:
    """Both kernels, with and without noise; one drill, duplicates, and 40 drills."""
    rng = np.random.default_rng(3)
    cases = []
    for kernel in ("rbf", "matern52"):
        for noise, ell, n in [(0.2, 1.0, 1), (0.25, 0.6, 7), (4e-6, 1.1, 8), (0.04, 2.0, 40)]:
            X = rng.uniform(0, 6, n).round(3).tolist()
            if n > 5:
                X[3:5] = X[:2]  # the same place again
            Y = [3 + 2 * math.sin(x) for x in X]
            if noise > 1e-3:
                Y = [y + math.sqrt(noise) * rng.normal() for y in Y]
            m = {"kernel": kernel, "lengthscale": ell, "variance": 3.0, "noise_var": noise,
                 "mean": 2.5}  # fmt: skip
            cases.append({"m": m, "X": X, "Y": Y})
    return cases


def exact_gp(m: dict[str, Any], X: list[float], Y: list[float], box: torch.Tensor) -> bl.ExactGP:
    kernel = RBFKernel() if m["kernel"] == "rbf" else MaternKernel(nu=2.5)
    model = bl.ExactGP(
        column(X), column(Y), box, kernel=ScaleKernel(kernel), mean=ConstantMean(),
        noise_var=m["noise_var"], standardize=False,
    )  # fmt: skip
    return model.with_hyperparameters(
        lengthscale=m["lengthscale"] / (box[1] - box[0]).item(),
        outputscale=float(m["variance"]),
        mean=float(m["mean"]),
    )


def test_posterior_evidence_and_acquisitions_are_bolearns(compute: Compute) -> None:
    cases, xs = models(), np.linspace(-0.5, 6.5, 29).tolist()
    found = compute(
        f"""{json.dumps(cases)}.map(({{m, X, Y}}) => {{
        const b = believe(m, X, Y), {{mean, sd}} = posterior(b, {xs});
        const top = Math.max(...posterior(b, X).mean), set = {{xi_pi: 0.2, xi_ei: 0.1, beta: 3}};
        const all = f => Array.from(mean, (mu, k) => f(mu, sd[k]));
        return {{log: b.log, mean: all(mu => mu), sd: all((mu, s) => s), top,
            pi: all((mu, s) => Phi((mu - top) / s)), ei: all((mu, s) =>
            expectedImprovement(mu, s, top)), ucb: all((mu, s) => UCB(mu, s, 3)),
            rates: ['pi', 'ei', 'ucb', 'mean', 'variance'].map(n =>
            all((mu, s) => RATES[n](mu, s, top, set)))}};
    }})"""
    )
    points, box = column(xs), torch.tensor([[0.0], [6.0]], dtype=torch.float64)
    for case, page in zip(cases, found, strict=True):
        model = exact_gp(**case, box=box)
        belief, best = model.posterior(points), bl.incumbent(model, column(case["X"])).value.item()
        wanted = {
            "log": [bl.log_marginal_likelihood(model).item()],
            "mean": belief.mean.flatten().tolist(),
            "sd": belief.variance.sqrt().flatten().tolist(),
            "top": [best],
            "pi": bl.ProbabilityOfImprovement(model, best)(points.unsqueeze(-2)).tolist(),
            "ei": bl.ExpectedImprovement(model, best)(points.unsqueeze(-2)).tolist(),
            "ucb": bl.UpperConfidenceBound(model, 3.0)(points.unsqueeze(-2)).tolist(),
        }
        for name, value in wanted.items():
            assert worst(np.ravel(page[name]), value) < 1e-8, (name, case["m"])
        batch = points.unsqueeze(-2)
        rates = [
            bl.LogProbabilityOfImprovement(model, best + 0.2)(batch),
            bl.LogExpectedImprovement(model, best + 0.1)(batch),
            bl.UpperConfidenceBound(model, 3.0)(batch),
            belief.mean.flatten(),
            belief.variance.sqrt().flatten(),
        ]
        # Beside a drill without noise, u = (mean - best) / sd magnifies rounding by 1 / sd.
        sure = belief.variance.flatten() < 1e-3
        for own, value in zip(page["rates"], rates, strict=True):
            slack = 1e-8 * (1 + value.abs()) * torch.where(sure, 1e3, 1.0)
            assert ((torch.tensor(own, dtype=torch.float64) - value).abs() < slack).all(), case["m"]


def test_one_drill_after_another_gives_the_same_belief(compute: Compute) -> None:
    gaps = compute(
        """['rbf', 'matern52'].flatMap(kernel => [4e-6, 0.3].map(noise_var => {
        const mine = openMine('gold', 0), m = {...firstModel(mine, false), kernel, noise_var};
        const at = [30, 200, 30, 100, 240, 0, 101], Y = at.map(k => mine.truth[k] + k / 500);
        const grown = grow(m, mine);
        at.forEach((k, t) => grown.add(k, Y[t]));
        const {mean, sd} = posterior(believe(m, at.map(k => mine.x[k]), Y), mine.x);
        return [Math.max(...mean.map((v, k) => Math.abs(v - grown.mean[k]))),
            Math.max(...sd.map((v, k) => Math.abs(v * v - grown.variance[k])))];
    }))"""
    )
    assert len(gaps) == 4 and np.max(gaps) < 1e-9


def test_the_factor_of_the_prior_is_the_prior(compute: Compute) -> None:
    for kernel in ("rbf", "matern52"):
        columns, x = compute(
            f"""(() => {{ const mine = openMine('gold', 0);
            const m = {{...firstModel(mine, false), kernel: '{kernel}'}};
            return [factor(m, mine).map(c => Array.from(c)), Array.from(mine.x)]; }})()"""
        )
        F = np.array(columns).T
        r = np.abs(np.subtract.outer(x, x))
        s = math.sqrt(5) * r
        K = 4 * (np.exp(-(r**2) / 2) if kernel == "rbf" else (1 + s + s**2 / 3) * np.exp(-s))
        assert np.abs(F @ F.T - K).max() < 4.1e-6  # the diagonal is left with at most 4e-6
        assert F.shape[1] < 241 or kernel == "matern52"


def test_draws_from_the_belief_have_its_mean_and_covariance(compute: Compute) -> None:
    count = 3000
    found, mean, sd, data = compute(
        f"""(() => {{ const mine = openMine('gold', 0), at = [40, 120, 121, 200];
        const m = {{...firstModel(mine, false), noise_var: 0.1}}, Y = [5, 3, 3.5, 7];
        const grown = grow(m, mine), F = factor(m, mine), normal = gaussian(stream(7));
        at.forEach((k, t) => grown.add(k, Y[t]));
        const p = posterior(believe(m, at.map(k => mine.x[k]), Y), mine.x), places = [10, 118, 160];
        const pick = a => places.map(k => a[k]);
        const draws = Array.from({{length: {count}}}, () => pick(draw(m, grown, F, Y, normal)));
        return [draws, pick(p.mean), pick(p.sd), [at.map(k => mine.x[k]), Y, pick(mine.x), m]];
    }})()"""
    )
    X, Y, places, m = data
    draws = np.array(found)
    assert (np.abs(draws.mean(0) - mean) < 5 * np.array(sd) / math.sqrt(count)).all()
    box = torch.tensor([[0.0], [6.0]], dtype=torch.float64)
    covariance = exact_gp(m, X, Y, box).posterior(column(places)).covariance.reshape(3, 3).numpy()
    error = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / count)
    assert (np.abs(np.cov(draws.T) - covariance) < 5 * error).all()


def test_without_noise_draws_go_through_the_drills(compute: Compute) -> None:
    gap = compute(
        """(() => { const mine = openMine('gold', 0), m = firstModel(mine, false);
        const grown = grow(m, mine), at = [40, 120, 200], Y = at.map(k => mine.truth[k]);
        at.forEach((k, t) => grown.add(k, Y[t]));
        const f = draw(m, grown, factor(m, mine), Y, gaussian(stream(1)));
        return Math.max(...at.map((k, t) => Math.abs(f[k] - Y[t]))); })()"""
    )
    assert gap < 5 * math.sqrt(4e-6)  # five standard deviations of the noise that the model keeps


def test_the_fit_is_as_good_as_scipys_best_of_many_starts(compute: Compute) -> None:
    rng = np.random.default_rng(5)
    cases = []
    for kernel in ("rbf", "matern52"):
        for n in (3, 6, 12):
            X = (rng.permutation(241)[:n] / 40).tolist()
            Y = [2 * (x - 3) * math.sin(x - 3) + 2 + x / 2 + 0.3 * rng.normal() for x in X]
            cases.append({"kernel": kernel, "X": X, "Y": Y})
    found = compute(
        f"""{json.dumps(cases)}.map(({{kernel, X, Y}}) => {{
        const mine = openMine('gold', 0), start = {{...firstModel(mine, true), kernel}};
        const m = fit(start, mine, X, Y);
        return [m, logML(m, X, Y)]; }})"""
    )
    for case, (m, log) in zip(cases, found, strict=True):
        X, Y = np.array(case["X"]), np.array(case["Y"])
        r = np.abs(np.subtract.outer(X, X))

        def loss(theta: Any, r: Any = r, Y: Any = Y, rbf: bool = case["kernel"] == "rbf") -> float:
            ell, g, variance = np.exp(theta[:3])
            s = math.sqrt(5) * r / ell
            C = np.exp(-(s**2) / 10) if rbf else (1 + s + s**2 / 3) * np.exp(-s)
            K = variance * (C + g * np.eye(len(Y)))
            rest = Y - theta[3]
            quadratic = rest @ np.linalg.solve(K, rest)
            determinant = float(np.linalg.slogdet(K)[1])
            return 0.5 * (quadratic + determinant + len(Y) * math.log(2 * math.pi))

        at = [m["lengthscale"], m["noise_var"] / m["variance"], m["variance"]]
        assert abs(-loss([*np.log(at), m["mean"]]) - log) < 1e-7
        box = [tuple(np.log([0.1, 12])), tuple(np.log([1e-6, 1])), tuple(np.log([4e-3, 4e3])),
               (-50, 50)]  # fmt: skip
        starts = [[rng.uniform(*side) for side in [*box[:3], (0, 8)]] for _ in range(8)]
        best = max(
            -scipy.optimize.minimize(loss, start, bounds=box, method="L-BFGS-B").fun
            for start in starts
        )
        assert log > best - 1e-4, (case, m)


def test_one_drill_has_no_opinion_about_the_lengthscale(compute: Compute) -> None:
    before, after, profile = compute(
        """(() => { const mine = openMine('gold', 0), m = firstModel(mine, false);
        return [m, fit(m, mine, [1], [7]), [0.1, 1, 10].map(lengthscale =>
            logML({...m, lengthscale}, [1], [7]))]; })()"""
    )
    assert after["lengthscale"] == before["lengthscale"] and after["mean"] == before["mean"]
    assert worst(profile, [profile[0]] * 3) < 1e-12
    # the variance becomes (7 - 4)^2, but for the millionth that is noise
    assert abs(after["variance"] * (1 + 1e-6) - 9) < 1e-9


def test_the_mines_are_those_of_the_package(compute: Compute) -> None:
    seeds = [0, 1, 7, 2**31 - 1]
    fixed, drawn, ells = compute(
        f"""[{json.dumps(list(TRUTHS))}.map(n => [openMine(n, 0).x, openMine(n, 0).truth].map(a =>
        Array.from(a))), {seeds}.map(s => Array.from(openMine('draw', s).truth)),
        {seeds}.map(hidden)]"""
    )
    for (x, truth), make in zip(fixed, TRUTHS.values(), strict=True):
        assert worst(truth, make().noiseless(column(x)).flatten().tolist()) < 1e-12
    x = [k / 240 for k in range(241)]
    for seed, truth, ell in zip(seeds, drawn, ells, strict=True):
        mine = goldmine.mine("riddle", seed)
        assert worst(truth, mine.noiseless(column(x)).flatten().tolist()) < 1e-10
        assert abs(goldmine.lengthscale_of(seed) - ell) < 1e-14
        assert mine.optimal_value is not None and abs(max(truth) - mine.optimal_value) < 1e-10


def test_random_mines_are_draws_from_the_prior(compute: Compute) -> None:
    # Products of places h apart average exp(-(h/ell)^2 / 2), each mine with its own lengthscale.
    h = 0.1
    values = compute(
        f"""Array.from({{length: 400}}, (_, s) => {{ const f = waves(s, hidden(s));
        return [f(0.4), f(0.4 + {h}), hidden(s)]; }})"""
    )
    a, b, ell = np.array(values).T
    gap = a * b - np.exp(-((h / ell) ** 2) / 2)
    assert abs(gap.mean()) < 5 * gap.std() / 20
    assert abs((a**2).mean() - 1) < 5 * (a**2).std() / 20
    assert ell.min() >= 0.05 and ell.max() <= 0.3


GAME: dict[str, Any] = {
    "m": {"kernel": "rbf", "lengthscale": 1, "variance": 4, "noise_var": 4e-6, "mean": 4},
    "mine": "gold", "seed": 0, "noisy": False, "cost": 0.3, "start": 3, "steps": 6,
    "set": {"xi_pi": 0, "xi_ei": 0, "beta": 4, "incumbent": "believed"},
    "policies": ["random", "variance", "mean", "pi", "ei", "ucb", "ts"],
}  # fmt: skip


def test_a_race_is_paired_and_its_fan_holds_quantiles(compute: Compute) -> None:
    first, second, quantiles = compute(
        f"""(() => {{ const game = {json.dumps(GAME)}, play = () => [...heats(game, 16)];
        const runs = play(), own = runs.map(([, r]) => r.ei);
        return [runs, play(), fan(own, 'regret')]; }})()"""
    )
    assert first == second and [seed for seed, _ in first] == list(range(16))
    for _, runs in first:
        starts = {tuple(run["regret"][:3]) for run in runs.values()}
        assert len(starts) == 1
        for run in runs.values():
            assert np.diff(run["regret"]).max() <= 0 and min(run["regret"]) >= 0
            best = np.max(goldmine.mine("gold").optimal_value) - np.array(run["regret"])
            assert worst(run["profit"], best - 0.3 * np.arange(1, 10)) < 1e-12
    regrets = np.array([runs["ei"]["regret"] for _, runs in first])
    assert worst(quantiles, np.quantile(regrets, [0.1, 0.5, 0.9], axis=0).T) < 1e-12


def test_a_race_of_expected_improvement_is_the_loop_in_python(compute: Compute) -> None:
    game = GAME | {"policies": ["ei"], "noisy": True, "steps": 5}
    game["m"] = game["m"] | {"noise_var": 0.25, "kernel": "matern52"}
    regrets, errors, at, noise = compute(
        f"""(() => {{ const game = {json.dumps(game)}, mine = openMine('gold', 0);
        const {{regret, error}} = [...heats(game, 4)][3][1].ei;
        const uniform = stream(CHANCE.race, 3, 1), normal = gaussian(stream(CHANCE.race, 3, 2));
        return [regret, error, [0, 0, 0].map(() => Math.floor(uniform() * SIZE)),
            Array.from({{length: 8}}, () => mine.noise_std * normal())]; }})()"""
    )
    mine = goldmine.mine("gold")
    grid = column([k / 40 for k in range(241)])
    truth = mine.noiseless(grid)
    places: list[int] = []
    for t in range(8):
        if t < 3:
            places.append(at[t])
        else:
            X = grid[places]
            Y = truth[places] + column(noise[:t])
            model = exact_gp(game["m"], X.flatten().tolist(), Y.flatten().tolist(), mine.bounds)
            acquisition = bl.LogExpectedImprovement(model, bl.incumbent(model, X).value.item())
            places.append(int(acquisition(grid.unsqueeze(-2)).argmax()))
        assert mine.optimal_value is not None
        assert abs(regrets[t] - (mine.optimal_value - truth[places].max().item())) < 1e-9
    model = exact_gp(
        game["m"], grid[places].flatten().tolist(),
        (truth[places] + column(noise)).flatten().tolist(), mine.bounds,
    )  # fmt: skip
    error = (model.posterior(grid).mean - truth).square().mean().sqrt().item()
    assert abs(errors[-1] - error) < 1e-9


# ------------------------------------------------------------------ the page in a browser

SAYS = "document.getElementById('says').textContent.replaceAll('\\u00a0', ' ')"


def launch(
    browser: chromium.Chromium, folder: Path, state: dict[str, Any] | None = None,
    *, framed: bool = False, width: int = 900, height: int = 1300, still: bool = False,
) -> None:  # fmt: skip
    document = explorables.page("goldmine", state)
    file = folder / "mine.html"
    around = '<!doctype html><meta charset="utf-8"><body style="margin:0">'
    file.write_text(around + explorables.frame(document) if framed else document, encoding="utf-8")
    browser.look(width, height, still=still)
    browser.open(file)
    browser.draw(frame=framed)


def place_of(browser: chromium.Chromium, x: float, y: float) -> tuple[float, float]:
    """Where a place x and an amount y of gold (ounces) are in the window."""
    code = f"""(() => {{ const box = ground.root.getBoundingClientRect();
        return [box.x + ground.X({x}), box.y + ground.Y({y})]; }})()"""
    a, b = browser.run(code)
    return a, b


def press(browser: chromium.Chromium, *names: str) -> None:
    for name in names:
        browser.run(f"document.getElementById('{name}').click()")


def drills_of(browser: chromium.Chromium) -> list[list[float]]:
    found: list[list[float]] = browser.run("drills.map(d => [mine.x[d.k], d.y])")
    return found


@needs_browser
def test_drill_move_pretend_delete_and_undo_by_mouse(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    launch(browser, tmp_path, {"drills": [1.0, 3.0]})
    start, gold = drills_of(browser), bl.problems.GoldMine1d()
    browser.click(*place_of(browser, 4.5, 0.0))
    browser.draw()
    assert worst(drills_of(browser)[2], [4.5, gold(column([4.5])).item()]) < 1e-12
    band = browser.run("[...view().sd]")
    x, y = drills_of(browser)[2]
    browser.drag(place_of(browser, x, y), place_of(browser, x + 0.05, y - 2))  # another find
    browser.draw()
    moved = drills_of(browser)[2]
    assert moved[0] == x and abs(moved[1] - (y - 2)) < 0.15
    assert browser.run("[...view().sd]") == band  # the band does not care what was found
    browser.drag(place_of(browser, *moved), place_of(browser, 5.1, moved[1] + 0.1))  # elsewhere
    browser.draw()
    assert worst(drills_of(browser)[2], [5.1, gold(column([5.1])).item()]) < 1e-12
    assert "3 drills, best 8.18 oz at x = 5.1" in browser.run(SAYS)
    press(browser, "delete")
    assert drills_of(browser) == start
    kinds = browser.run("log.filter(l => l.back).map(l => l.entry.kind)")
    assert kinds == ["drill", "pretend", "move", "delete"]
    press(browser, "undo", "undo")
    assert drills_of(browser)[2] == moved
    press(browser, "undo", "undo")
    assert drills_of(browser) == start
    assert browser.run("document.getElementById('undo').disabled")


@needs_browser
def test_drill_and_move_by_touch(browser: chromium.Chromium, tmp_path: Path) -> None:
    launch(browser, tmp_path, {"drills": [1.0]}, width=360)
    browser.touch(place_of(browser, 4.5, 0.0))
    browser.wait("drills.length === 2")
    x, y = drills_of(browser)[1]
    assert abs(x - 4.5) < 0.03
    a, b = place_of(browser, x, y)
    browser.touch((a, b), (a - 20, b), (a - 60, b + 4))
    browser.wait("log.at(-1).entry.kind === 'move'")
    browser.draw()
    moved = drills_of(browser)[1]
    assert len(drills_of(browser)) == 2 and 2.8 < moved[0] < 3.6
    assert worst(moved[1:], bl.problems.GoldMine1d()(column(moved[:1])).flatten()) < 1e-12


@needs_browser
def test_drill_move_pretend_and_delete_by_keyboard(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    launch(browser, tmp_path, {"drills": [1.0]})
    browser.run("document.getElementById('place').focus()")
    browser.press("ArrowRight", times=4)
    assert "At the cursor, x = 3.10" in browser.run(SAYS)
    press(browser, "drill")
    assert worst([x for x, _ in drills_of(browser)], [1.0, 3.1]) < 1e-12
    browser.run("document.querySelectorAll('.handle')[1].focus()")
    browser.press("ArrowLeft", times=2)
    browser.press("ArrowUp")
    truth = bl.problems.GoldMine1d()(column([3.05])).item()
    assert worst(drills_of(browser)[1], [3.05, truth + 0.1]) < 1e-12
    told = "document.querySelectorAll('.handle')[1].getAttribute('aria-valuetext')"
    assert browser.run(told).replace("\u00a0", " ") == f"x = 3.05, {truth + 0.1:.2f} oz"
    key = "new KeyboardEvent('keydown', {key: 'Delete'})"
    browser.run(f"document.activeElement.dispatchEvent({key})")
    assert len(drills_of(browser)) == 1
    assert browser.run("document.activeElement.id") == "place"


@needs_browser
def test_every_policy_steps_to_where_its_own_rating_is_highest(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    for kernel in ("rbf", "matern52"):
        launch(browser, tmp_path, {"drills": [0.5, 2, 4], "kernel": kernel, "everyone": True})
        session = goldmine.replay(browser.run("session(view())"))
        grid = column(browser.run("[...mine.x]"))
        rated = session.values(grid)
        told = session.data["page"]["next"]
        for policy, name in [("variance", "std"), ("mean", "mean"), ("pi", "pi"), ("ei", "ei"),
                             ("ucb", "ucb")]:  # fmt: skip
            reached = rated[name][grid.flatten() == told[policy]]
            assert (reached > rated[name].max() - 1e-9).all() and len(reached) == 1
            browser.run(f"document.querySelector('input[value={policy}]').click()")
            press(browser, "step")
            assert drills_of(browser)[-1][0] == told[policy]
            assert browser.run("log.at(-1).entry.by") == policy
            press(browser, "undo")
        browser.run("document.querySelector('input[value=ts]').click()")
        before = browser.run("view().next.ts")
        rolls = set()
        for _ in range(8):
            press(browser, "roll")
            rolls.add(browser.run("view().next.ts"))
        assert len(rolls | {before}) > 1


@needs_browser
def test_order_does_not_matter_to_the_belief(browser: chromium.Chromium, tmp_path: Path) -> None:
    means = []
    for drills in ([1.0, 2.5, 5.0], [5.0, 1.0, 2.5]):
        launch(browser, tmp_path, {"drills": drills})
        means.append(browser.run("[...view().mean, ...view().sd, view().belief.log]"))
    assert worst(*means) < 1e-10


@needs_browser
@pytest.mark.parametrize("framed", [False, True], ids=["as a file", "in a frame"])
def test_a_race_of_200_seeds_runs_in_a_worker_and_the_page_stays_awake(
    browser: chromium.Chromium, tmp_path: Path, framed: bool
) -> None:
    launch(browser, tmp_path, {"everyone": True}, framed=framed)
    started = """document.getElementById('at-race').open = true,
        document.getElementById('race').click(), worker instanceof Worker"""
    assert browser.run(started, frame=framed)
    browser.run("document.getElementById('drill').click()", frame=framed)  # while the race goes on
    assert browser.run("drills.length", frame=framed) == 3
    browser.wait("runs.length === 200 && races.length === 1", frame=framed)
    browser.draw(frame=framed)
    rows = browser.run("[...document.querySelectorAll('#race-table tr')].map(r => "
                       "[...r.cells].map(c => c.textContent.trim()))", frame=framed)  # fmt: skip
    assert [row[0] for row in rows] == ["regret at the end", "random", "mean only", "EI"]
    solved = {row[0]: int(row[4].split()[0]) for row in rows[1:]}
    # Paired: EI finds what the greedy policy misses in some 70 of 200 mines, never the other way.
    lost, won = browser.run("[['mean', 'ei'], ['ei', 'mean']].map(([a, b]) => runs.filter(r => "
                            "r[a].regret.at(-1) > 1 && r[b].regret.at(-1) < 0.1).length)",
                            frame=framed)  # fmt: skip
    assert solved["EI"] > 90 and lost > 30 > won


@needs_browser
@pytest.mark.parametrize(
    "spoil",
    ["window.Worker = class { constructor() { throw new Error('no workers here'); } }",
     "URL.createObjectURL = () => 'data:text/javascript,throw 1'"],
    ids=["refused", "broken"],
)  # fmt: skip
def test_without_a_worker_the_race_runs_in_slices_and_gives_the_same(
    browser: chromium.Chromium, tmp_path: Path, spoil: str
) -> None:
    launch(browser, tmp_path)
    results = []
    for code in ("0", f"({spoil}, 0)"):
        browser.run(code)
        press(browser, "race")
        if results:
            drilled = browser.run(
                "new Promise(done => setTimeout(() => { const n = runs.length; "
                "document.getElementById('drill').click(); done(n); }, 100))"
            )
            assert drilled < 200  # an event was served before the race was over
        browser.wait(f"races.length === {len(results) + 1}")
        results.append(browser.run("JSON.stringify(races.at(-1).results)"))
    assert results[0] == results[1]
    assert [e for e in browser.errors if "throw 1" not in e and "Uncaught 1" not in e] == []
    browser.forget()  # the broken worker says that it is


@needs_browser
def test_the_session_goes_to_python_and_back_to_the_same_numbers(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    rng = random.Random(2)
    for state in [
        {"mine": "gold", "policy": "ei", "xi_ei": 0.2},
        {"mine": "step", "noise": True, "kernel": "matern52", "policy": "ts", "incumbent": "seen",
         "drills": [0.5]},
        {"mine": "riddle", "seed": 11, "policy": "ucb", "goal": "profit", "drills": [0.1, 0.9]},
    ]:  # fmt: skip
        launch(browser, tmp_path, state)
        browser.run("document.getElementById('at-export').open = true")
        for _ in range(16):
            browser.run(rng.choice([
                "stepOnce(), refresh()", "stepOnce(), refresh()", "undo(), refresh()",
                f"drill({rng.randrange(241)}, 'me'), refresh()",
                f"drills.length && change(drills[0], 'move', {rng.randrange(241)}, 1.25)",
                f"drills.length && change(drills[0], 'pretend', drills[0].k, {rng.random()})",
                "drills.length > 2 && remove(drills[1])",
                "document.getElementById('noise').click()",
                "document.getElementById('fit').click()",
            ]))  # fmt: skip
        press(browser, "fit", "reveal", "grams")
        browser.wait("document.getElementById('export').value.length > 100")
        text = browser.run("document.getElementById('export').value")
        session = goldmine.replay(text)
        assert session.difference() < 1e-8
        ounce = session.data["scale"]
        assert worst(session.Y.flatten() / ounce, [y for _, y in drills_of(browser)]) < 1e-12
        # What was done, done again, leads to the same drills and hyperparameters.
        held: list[list[float]] = []
        model = session.data["start"]
        for action in session.actions:
            kind = action["kind"]
            if kind == "drill":
                held.append([action["x"], action["y"]])
            elif kind in ("move", "pretend"):
                held[action["drill"]] = [action["x"], action["y"]]
            elif kind == "delete":
                del held[action["drill"]]
            elif kind in ("set", "fit"):
                model = action["model"]
        assert worst(held, torch.cat([session.X, session.Y], -1).tolist()) < 1e-12
        assert model == session.data["model"]
        assert session.data["peeks"] == 1 and session.data["fits"] >= 1
        assert session.mine.name == state["mine"] and session.data["unit"] == "g"


@needs_browser
def test_grams_shrink_xi_and_leave_beta_alone(browser: chromium.Chromium, tmp_path: Path) -> None:
    # With PI and a large xi, the next drill follows the unit; UCB's does not.
    launch(browser, tmp_path, {"drills": [0.5, 2, 3.5], "xi_pi": 3})
    ounces = browser.run("view().next")
    press(browser, "grams")
    grams = browser.run("view().next")
    small = browser.run("(s.xi_pi = 3 / GRAMS, grams = false, view().next)")
    assert grams["ucb"] == ounces["ucb"] and grams["pi"] != ounces["pi"]
    assert grams["pi"] == small["pi"]


@needs_browser
def test_profit_says_when_to_stop_and_a_stopped_session_stands(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    launch(browser, tmp_path, {"goal": "profit", "policy": "ei", "drills": [2.0]}, still=True)
    assert "drill on" in browser.run(SAYS)
    press(browser, "auto", "auto")
    promise, n = browser.run("[view().most, drills.length]")
    assert "time to stop" in browser.run(SAYS) and promise <= 0.3 and 2 < n < 15
    assert browser.run("stepping") == 0
    press(browser, "stop")
    browser.click(*place_of(browser, 3.3, 0.0))
    assert "Stopped, with a profit of" in browser.run(SAYS) and len(drills_of(browser)) == n
    assert goldmine.replay(browser.run("session(view())")).data["stopped"] is True
    press(browser, "undo")
    assert not browser.run("stopped")


@needs_browser
def test_auto_takes_its_time_unless_the_reader_likes_no_motion(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    counts = []
    for still in (True, False):
        launch(browser, tmp_path, {"policy": "ucb", "drills": [2.0]}, still=still)
        press(browser, "auto")
        counts.append(len(drills_of(browser)))
    press(browser, "auto")  # halts
    browser.look(700)
    assert counts[0] == 11 and 2 <= counts[1] <= 4  # all at once; a few, on a slow machine


@needs_browser
def test_a_peek_is_counted_and_a_new_mine_hides_the_truth(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    launch(browser, tmp_path, {"mine": "draw", "seed": 4})
    dashed = "document.querySelectorAll('#ground path[stroke-dasharray=\"7 5\"]').length"
    assert browser.run(dashed) == 0
    press(browser, "reveal", "reveal", "reveal")
    assert browser.run(dashed) == 1 and browser.run("peeks") == 2
    assert abs(browser.run("m.lengthscale") - goldmine.lengthscale_of(4)) < 1e-12  # it is told
    press(browser, "another")
    assert browser.run(dashed) == 0 and browser.run("[peeks, mine.seed]") == [0, 5]


@needs_browser
def test_every_mine_and_panel_fits_at_every_width(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    for width in (360, 760, 1400):
        launch(browser, tmp_path, {"policy": "ei", "everyone": True, "cost": 0}, width=width)
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        for name in (*TRUTHS, "draw", "riddle"):
            browser.run(f"document.querySelector('input[value={name}]').click()")
            browser.run("for (let t = 0; t < 5; t++) stepOnce()")
            browser.run("refresh()")
            across = browser.run("[document.documentElement.scrollWidth, innerWidth]")
            assert across[0] <= across[1], (name, width)
            assert "NaN" not in browser.run("document.body.innerHTML.replace(/<script.*/s, '')")
        assert browser.errors == [], width


# ------------------------------------------------------------------ sessions in Python


def small_session(**changes: Any) -> str:
    data = {
        "format": "bolearn goldmine 1", "mine": {"name": "gold", "seed": 0}, "scale": 1,
        "rules": {"incumbent": "seen", "xi_pi": 0, "xi_ei": 0, "beta": 4}, "actions": [],
        "model": {"kernel": "rbf", "lengthscale": 1, "variance": 4, "noise_var": 1e-6, "mean": 4},
        "drills": [{"x": 3, "y": 3.5}, {"x": 4, "y": 6.0}],
    }  # fmt: skip
    return json.dumps(data | changes)


def test_what_is_to_be_beaten_follows_the_rule() -> None:
    noisy = {"kernel": "rbf", "lengthscale": 1, "variance": 4, "noise_var": 1.0, "mean": 4}
    seen = goldmine.replay(small_session(model=noisy))
    rules = seen.data["rules"] | {"incumbent": "believed"}
    believed = goldmine.replay(small_session(model=noisy, rules=rules))
    assert seen.best_f == 6.0 and 4 < believed.best_f < 5.9
    empty = goldmine.replay(small_session(drills=[]))
    assert empty.model is None and empty.best_f == 4 and empty.X.shape == (0, 1)
    with pytest.raises(DataError, match="at least one drill"):
        empty.values(column([1.0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (small_session()[:-5], "complete; got no JSON"),
        ("[1]", "format 'bolearn goldmine 1', got 'list'"),
        (small_session(format="2"), "got '2'"),
        (small_session(rules={}), "missing or no number: 'xi_pi'"),
        (small_session(drills=[{"x": "a", "y": 1}]), "missing or no number"),
        (small_session(mine={"name": "silver", "seed": 0}), "a mine among gold, .*got 'silver'"),
        (small_session(mine={"name": "draw", "seed": -1}), "whole number from 0"),
        (small_session(model={"kernel": "rbf", "lengthscale": 0, "variance": 1, "noise_var": 1,
                              "mean": 0}), "expected positive lengthscale"),
        (small_session(model={"kernel": "periodic", "lengthscale": 1, "variance": 1,
                              "noise_var": 1, "mean": 0}), "a kernel among rbf, matern52"),
        (small_session(rules={"incumbent": "mine", "xi_pi": 0, "xi_ei": 0, "beta": 4}),
         "believed or seen, got 'mine'"),
    ],
)  # fmt: skip
def test_a_damaged_session_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        goldmine.replay(text)
