"""The gold mine in Python for many seeds at once: the page's own race, drill by drill.

The page's script is run under Node.js, without which there is nothing to compare with.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bolearn as bl
from bolearn.errors import DataError, ShapeError
from bolearn.teach import explorables, goldmine

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
MINES = ("gold", "two_scale", "needle", "step", "draw", "riddle")


def compute(folder: Path, expression: str) -> Any:
    """The value of an expression in the names of the page's model."""
    text = (explorables.FOLDER / "goldmine.html").read_text(encoding="utf-8")
    model = re.search(r'<script id="model">(.*?)</script>', text, re.DOTALL)
    assert model is not None and NODE is not None
    file = folder / "numbers.js"
    code = f"'use strict';{model[1]}\nconsole.log(JSON.stringify({expression}));"
    file.write_text(code, encoding="utf-8")
    done = subprocess.run([NODE, str(file)], capture_output=True, check=True)
    return json.loads(done.stdout)


def game(mine: str, policies: list[str], *, noisy: bool = False) -> str:
    """A race of the page: its model, 3 drills at random and 6 more."""
    settings = {
        "mine": mine, "seed": 2, "noisy": noisy, "cost": 0.3, "start": 3, "steps": 6,
        "set": {"xi_pi": 0.2, "xi_ei": 0.1, "beta": 2, "incumbent": "believed"},
        "policies": policies,
    }  # fmt: skip
    model = f"firstModel(openMine('{mine}', 2), {json.dumps(noisy)})"
    return f"{{...{json.dumps(settings)}, m: {model}}}"


@needs_node
def test_the_first_models_and_the_noise_are_the_pages(tmp_path: Path) -> None:
    page = compute(
        tmp_path,
        f"""{json.dumps(MINES)}.map(name => {{ const mine = openMine(name, 5);
        return [firstModel({{...mine, told: false}}, false), firstModel(mine, true).noise_var,
            Array.from(mine.x), [0, 1, 40].map(t => measure(mine, 7, true, t) - mine.truth[7])];
    }})""",
    )
    for name, (model, noise_var, x, errors) in zip(MINES, page, strict=True):
        mine = goldmine.mine(name, 5)
        places = goldmine.places(mine)
        assert np.abs(places.flatten().numpy() - x).max() < 1e-12
        X = places[:1].unsqueeze(0)
        own = goldmine.start_model(mine, X, mine.noiseless(X))
        values = {key: value.item() for key, value in own.hyperparameters().items()}
        width = x[-1] - x[0]
        assert values["lengthscale"] * width == pytest.approx(model["lengthscale"], rel=1e-12)
        assert values["outputscale"] == pytest.approx(model["variance"], rel=1e-12)
        assert values["mean"] == model["mean"]
        assert own.noise_variance().item() == pytest.approx(model["noise_var"], rel=1e-12)
        noisy = goldmine.start_model(mine, X, mine.noiseless(X), noisy=True)
        assert noisy.noise_variance().item() == pytest.approx(noise_var, rel=1e-12)
        told = goldmine.measurement_errors(mine, 5, 41)[[0, 1, 40]]
        assert np.abs(told.numpy() - errors).max() < 1e-12


@needs_node
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("name", ["gold", "riddle"])
def test_policies_drill_where_they_do_in_the_pages_race(
    tmp_path: Path, name: str, noisy: bool
) -> None:
    seeds = 12
    policies = ["random", *goldmine.POLICIES]
    runs = compute(tmp_path, f"[...heats({game(name, policies, noisy=noisy)}, {seeds})]")
    mine = goldmine.mine(name, 2)
    assert mine.optimal_value is not None
    X, Y = goldmine.random_drills(mine, 9, seeds=range(seeds), noisy=noisy)
    errors = Y - mine.noiseless(X) if noisy else None
    for policy in policies:
        places = X
        if policy != "random":
            xi = {"pi": 0.2, "ei": 0.1}.get(policy, 0)
            places = goldmine.play(mine, X[:, :3], policy, 6, errors=errors, xi=xi, beta=2)
        there = mine.noiseless(places).squeeze(-1)
        regret = mine.optimal_value - there.cummax(-1).values
        page = np.array([run[policy]["regret"] for _, run in runs])
        # Beside a drill without noise, PI and EI divide rounding by a tiny deviation: it may decide
        # between two places, in one seed at most.
        same = np.abs(regret.numpy() - page).max(1) < 1e-9
        assert same.sum() >= (seeds - 1 if policy in ("pi", "ei") else seeds), policy


def test_noise_is_added_to_what_is_there() -> None:
    gold = goldmine.mine("gold")
    X, Y = goldmine.random_drills(gold, 6, noisy=True)
    calm, found = goldmine.random_drills(gold, 6)
    assert torch.equal(X, calm) and torch.equal(found, gold.noiseless(X))
    errors = (Y - found).flatten()
    assert abs(errors.mean().item()) < 5 * 0.5 / 1200**0.5
    assert abs(errors.std().item() - 0.5) < 5 * 0.5 / 2400**0.5
    again, _ = goldmine.random_drills(gold, 6, seeds=[7, 3])
    assert torch.equal(again, X[[7, 3]])


def test_a_batch_of_models_is_the_models_alone() -> None:
    gold = goldmine.mine("gold")
    X, Y = goldmine.random_drills(gold, 5, seeds=range(6), noisy=True)
    settings = {"lengthscale": 0.7, "variance": 3, "mean": 5.0}
    together = goldmine.start_model(gold, X, Y, noisy=True, kernel="matern52", **settings)
    rated = {policy: goldmine.ratings(together, policy) for policy in goldmine.POLICIES}
    for i in range(6):
        alone = goldmine.start_model(gold, X[i], Y[i], noisy=True, kernel="matern52", **settings)
        for policy, values in rated.items():
            own = goldmine.ratings(alone, policy)
            assert own.shape == (241,) and (own - values[:, i]).abs().max() < 1e-9
            assert torch.equal(
                goldmine.suggest(alone, policy), goldmine.suggest(together, policy)[i]
            )


def test_ratings_are_bolearns_acquisitions() -> None:
    gold = goldmine.mine("gold")
    X, Y = goldmine.random_drills(gold, 5, seeds=range(4))
    model = goldmine.start_model(gold, X, Y)
    points = goldmine.places(gold).reshape(241, 1, 1, 1).expand(241, 4, 1, 1)
    belief, best = model.posterior(points), model.posterior(X).mean.amax((1, 2))
    seen = Y.amax((1, 2))
    for own, wanted in [
        (goldmine.ratings(model, "mean"), belief.mean[..., 0, 0]),
        (goldmine.ratings(model, "variance"), belief.variance.sqrt()[..., 0, 0]),
        (goldmine.ratings(model, "ucb", beta=9), bl.UpperConfidenceBound(model, 9.0)(points)),
        (goldmine.ratings(model, "ei").exp(), bl.ExpectedImprovement(model, best)(points)),
        (goldmine.ratings(model, "pi", xi=0.5).exp(),
         bl.ProbabilityOfImprovement(model, best + 0.5)(points)),
        (goldmine.ratings(model, "ei", best_f=seen, xi=1).exp(),
         bl.ExpectedImprovement(model, seen + 1)(points)),
    ]:  # fmt: skip
        assert (own - wanted).abs().max() < 1e-12
    top = goldmine.places(gold)[goldmine.ratings(model, "ei").argmax(0)]
    assert torch.equal(goldmine.suggest(model, "ei"), top)


def test_what_is_not_of_the_page_is_refused() -> None:
    gold = goldmine.mine("gold")
    X, Y = goldmine.random_drills(gold, 3, seeds=range(2))
    model = goldmine.start_model(gold, X, Y)
    hill = bl.problems.Hard1d()
    for call, words in [
        (lambda: goldmine.start_model(hill, X, Y), "one of the page's mines, got .* 'hard'"),
        (lambda: goldmine.random_drills(hill, 3), "one of the page's mines"),
        (lambda: goldmine.random_drills(gold, 0), "n: expected an integer >= 1"),
        (lambda: goldmine.random_drills(gold, 3, seeds=[-1]), "a whole number from 0"),
        (lambda: goldmine.start_model(gold, X, Y, kernel="linear"), "got 'linear'"),
        (lambda: goldmine.start_model(gold, X, Y, ell=1.0), "among lengthscale, .*; got ell"),
        (lambda: goldmine.ratings(model, "ts"), "among variance, .*; got 'ts'"),
        (lambda: goldmine.play(gold, X, "ei", 0), "steps: expected an integer >= 1"),
        (lambda: goldmine.measurement_errors(gold, 1, 0), "n: expected an integer"),
    ]:
        with pytest.raises(DataError, match=words):
            call()
    with pytest.raises(ShapeError, match=r"shape \(2, 5, 1\), got \(2, 3, 1\)"):
        goldmine.play(gold, X, "ei", 2, errors=Y)
