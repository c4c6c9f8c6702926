"""The snippets "the same in BoTorch" run where they stand: at the end of their tutorial."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import bolearn as bl
from course.claims import read
from course.project import Project, Tutorial
from course.slices import Notebook

ROOT = Path(__file__).resolve().parents[2]


def snippet(tutorial: Tutorial) -> str:
    """The code under "The same in BoTorch", without its comment marks; empty if there is none."""
    text = "\n".join(
        line.removeprefix("# ").removeprefix("#")
        for line in tutorial.source.read_text(encoding="utf-8").splitlines()
    )
    found = re.search(r"\*\*The same in BoTorch\*\*.*?```python\n(.*?)```", text, re.DOTALL)
    return found[1] if found else ""


def _weights(names: dict[str, Any]) -> float:
    latent, of_drill = (names[name].detach().squeeze() for name in ("latent", "of_a_new_drill"))
    ours = names["bayes"](names["X"], names["y"])[1][0]
    noise = names["NOISE"] ** 2
    return float(max((latent - ours).abs().max(), (of_drill - noise - ours).abs().max()))


def _fit(names: dict[str, Any]) -> float:
    return float((names["posterior"].mean - names["Y2"]).abs().max()) / 100


def _scores(names: dict[str, Any]) -> float:
    model, b, spots = names["model"], names["Y"].max(), names["spots"]
    upper = bl.UpperConfidenceBound(model, 4.0)(spots) - names["by_ucb"]
    log_ei = bl.LogExpectedImprovement(model, b)(spots).exp() - names["by_log_ei"].exp()
    return float(max(upper.abs().max(), log_ei.abs().max()))


def _left_out(names: dict[str, Any]) -> float:
    return 0.0 if names["z"].isfinite().all() and names["z"].numel() == 6 else 1.0


def _learned_noise(names: dict[str, Any]) -> float:
    """Relative: both fits stop within a tolerance of the summit."""
    ours = float(names["default"].hyperparameters()["noise_var"][0, 0])
    held = names["reading"].variance.isfinite().all()
    return abs(names["learned_noise"] / ours - 1) / 1e3 if held else 1.0


def _improvements(names: dict[str, Any]) -> float:
    spots, best = names["spots"].unsqueeze(-2), names["best"]
    log_ei = bl.LogExpectedImprovement(names["young"], best)(spots)
    apart = (names["by_formula"](spots) - log_ei).abs().max()
    found = bl.optimize_acqf(
        bl.LogExpectedImprovement(names["young"], best), names["branin"].bounds, seed=0
    )
    drawn = (names["by_draws"](found.x).exp() / found.value.exp() - 1).abs().squeeze()
    return float(max(apart, (found.value - names["at_x"]).abs(), drawn / 1e4))  # drawn within 1 %


def _bent(names: dict[str, Any]) -> float:
    """Both fits stop within a tolerance of the summit; means in standardised units."""
    ours = names["bent"].posterior(names["unseen"]).mean[0]
    return float((names["their_mean"] - ours).abs().max() / names["bent"].Y[0].std()) / 1e2


def _looked_ahead(names: dict[str, Any]) -> float:
    places, model, tops = (names[name] for name in ("places", "model", "tops"))
    ours = bl.GIBBON(model, tops)(places.unsqueeze(1))
    nested = (names["kg_there"] / names["by_hand"][names["at"]] - 1).abs().squeeze()
    return float(max((names["told_there"] - ours).abs().max(), nested / 1e3))  # drawn within 10 %


def _hamming(names: dict[str, Any]) -> float:
    return float((names["by_botorch"] - names["one_hot"]).abs().max())


# How far BoTorch's numbers are from the notebook's.
APART: dict[str, Callable[[dict[str, Any]], float]] = {
    "p3.t2": _weights,
    "p3.t3": _fit,
    "p3.t4": _scores,
    "p3.t5": _left_out,
    "p4.t1": _learned_noise,
    "p4.t2": _improvements,
    "p4.t4": _bent,
    "p4.t5": _looked_ahead,
    "p5.t3": _hamming,
}
TUTORIALS = [
    t for t in Project(ROOT).tutorials() if (t.id.startswith("p3.") or t.id in APART) and snippet(t)
]


def test_there_are_snippets() -> None:
    assert {t.id for t in TUTORIALS} == set(APART)


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda t: t.id)
def test_snippet_runs_at_the_notebooks_end(
    tutorial: Tutorial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executed after those cells of the notebook that bind what it uses."""
    matplotlib.use("Agg")
    cells = [*read(tutorial).cells, snippet(tutorial)]
    names: dict[str, Any] = {"__name__": "__main__"}
    for number in Notebook(cells).needed([len(cells) - 1]):
        exec(compile(cells[number], f"{tutorial.id}, cell {number + 1}", "exec"), names)
    assert APART[tutorial.id](names) < 1e-4
