"""What models are told, and what they make of it: repeats, failures, limits, several goals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from campaigns import POINT, make, measured, play, reaction

import bolearn as bl
from bolearn.campaign.beliefs import Encoder, believe, rows_of
from bolearn.campaign.own_strategy import packed, unpacked

LINE = bl.Space([bl.Real("x", 0, 1)])


def on_a_line(points: list[tuple[float, object]], **options: object) -> bl.Campaign:
    """A campaign with data at some x."""
    c = make(space=LINE, strategy=None, **options)
    for x, value in points:
        c.add({"x": x}, value)
    return c


def test_need_13_repeats_are_rows_and_noise_is_learnt_from_them() -> None:
    c = on_a_line([(0.1, [1.0, 3.0, 2.0]), (0.9, 5.0)])
    view = c._store.read()
    rows = rows_of(c.trials, Encoder(view.revisions), "yield")
    assert rows is not None and rows.variance is None
    assert rows.Y.flatten().tolist() == [1.0, 3.0, 2.0, 5.0]
    assert rows.X.flatten().tolist() == [0.1, 0.1, 0.1, 0.9]
    sure, unsure = (
        on_a_line([(x, (math.sin(6 * x), sem)) for x in (0.0, 0.25, 0.5, 0.75, 1.0)])
        for sem in (0.01, 0.5)
    )
    at = {"x": 0.5}
    assert sure.predict(at)["yield"].std < 0.1 < unsure.predict(at)["yield"].std
    never_certain = on_a_line([(x, (math.sin(6 * x), 0.0)) for x in (0.0, 0.25, 0.5, 0.75, 1.0)])
    plain = on_a_line([(x, math.sin(6 * x)) for x in (0.0, 0.25, 0.5, 0.75, 1.0)])
    assert never_certain.predict(at) == plain.predict(at)


def test_need_6_failures_teach_where_not_to_go() -> None:
    c = on_a_line([(x, x) for x in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)])
    for x in (0.75, 0.9, 1.0):
        c.fail(c.add({"x": x}).id, "cracked")
    view = c._store.read()
    beliefs = believe(view, Encoder(view.revisions), ["yield"], deterministic=False)
    assert beliefs is not None
    X = torch.tensor([[0.25], [0.95]], dtype=torch.float64)
    works = beliefs.log_success(X.unsqueeze(-2)).exp()
    assert works[0] > 0.9 and works[1] < 0.1
    (t,) = c.ask()
    assert t.proposal is not None and t.proposal["success"] > 0.1
    assert t.parameters["x"] < 0.8, "the yield rises to the right, where it cracks"


def test_need_7_each_outcome_has_a_model_of_its_own_data() -> None:
    c = make(goals=["maximize yield", "cost <= 4"], strategy=None)
    play(c, 12)
    (t,) = c.ask()
    before = c.predict(t.parameters)
    c.tell(t.id, {"yield": 200.0})
    after = c.predict(t.parameters)
    assert after["yield"].mean > before["yield"].mean + 20
    assert after["cost"] == before["cost"]
    (following,) = c.ask()
    assert following.origin == "model"


def test_need_9_the_model_learns_what_was_really_set() -> None:
    c = make(space=LINE, strategy=None)
    (t,) = c.ask()
    c.tell(t.id, 1.0, parameters={"x": 1.25})
    view = c._store.read()
    encoder = Encoder(view.revisions)
    code = encoder.code(c[t.id])
    assert code is not None and code.tolist() == [1.25]
    c.exclude(t.id, "wrong bottle")
    assert rows_of(c.trials, encoder, "yield") is None


def test_need_11_old_trials_are_read_in_the_new_space() -> None:
    c = make(strategy=None)
    play(c, 12)
    new = bl.Space(
        [
            bl.Real("A", 0, 1, step=0.01),
            bl.Real("heat", 20, 120, unit="°C", step=0.5),
            bl.Categorical("solvent", ["THF", "MeOH", "DMF"]),
            bl.Real("pH", 2, 12),
        ]
    )
    rename = {"temperature": "heat", "B": None, "cycles": None}
    c.change(space=new, fill={"pH": 7.0}, rename=rename)
    encoder = Encoder(c._store.read().revisions)
    for t in c.trials:
        code = encoder.code(t)
        p = t.parameters
        assert code is not None
        labels = [float(p["solvent"] == s) for s in ("THF", "MeOH", "DMF")]
        heat = (float(p["temperature"]) - 20) / 100
        expected = [float(p["A"]), heat, *labels, 0.5]
        assert code.tolist() == pytest.approx(expected, abs=1e-12)
        if p["solvent"] == "MeCN":
            assert labels == [0.0] * 3, "a label that is gone is unlike all others"
    (t,) = c.ask()
    assert t.origin == "model" and t.parameters in new
    c.change(space=new, goals=["maximize yield", "minimize waste"])
    assert c.ask()[0].origin == "design", "waste has not been measured yet"


def test_need_12_and_limits_find_feasible_points() -> None:
    c = make(goals=["maximize yield", "cost <= 3.2"], strategy=None)
    play(c, 14)
    proposed = [t for t in c.trials if t.origin == "model"]
    assert len(proposed) == 4
    assert sum(t.values["cost"] <= 3.2 for t in proposed) >= 3
    best = c.best()
    assert best is not None and best.origin == "model"


def test_several_objectives_move_along_the_front() -> None:
    space = bl.Space([bl.Real("x", 0, 1), bl.Real("z", 0, 1)])
    c = make(space=space, goals=["maximize a", "minimize b"], strategy=None)
    for _ in range(9):
        (t,) = c.ask()
        x, z = (float(v) for v in t.parameters.values())
        c.tell(t.id, {"a": x - z, "b": x * x + z})
    assert "hypervolume" in c.strategy
    front = c.pareto()
    assert all(
        not any(o.values["a"] > t.values["a"] and o.values["b"] < t.values["b"] for o in c.trials)
        for t in front
    )
    proposed = [t for t in c.trials if t.origin == "model"]
    assert sum(float(t.parameters["z"]) < 0.1 for t in proposed) >= 4, "the front has z = 0"
    with pytest.raises(bl.UnsupportedError, match="use pareto"):
        c.best()


def test_need_23_explanations_are_those_of_the_time_of_asking() -> None:
    c = make(strategy=None)
    play(c, 11)
    (t,) = c.ask()
    said = c.explain(t.id)
    p = said.predicted["yield"]
    assert p.low < p.mean < p.high and said.kind in ("explore", "exploit")
    now = c.predict(t.parameters)["yield"]
    assert (p.mean, p.std) == pytest.approx((now.mean, now.std), rel=1e-9)
    assert said.best == max(x.values["yield"] for x in c.trials if x.values)
    encoder = Encoder(c._store.read().revisions)
    codes = {x.id: encoder.code(x) for x in c.trials if x.values}
    own = encoder.code(t)
    far = {i: float((code - own).norm()) for i, code in codes.items()}  # type: ignore[operator]
    assert said.nearest == min(far, key=lambda i: far[i])
    assert said.distance == pytest.approx(min(far.values()))
    c.tell(t.id, -1e3)
    c.add(POINT, 1e3)
    assert c.explain(t.id) == said and "expected yield" in str(said)
    assert c.explain(0).kind == "design"
    with pytest.raises(bl.DataError, match="added by a person"):
        c.explain(12)


def test_need_24_health_warns_of_what_is_noise_and_not_of_what_is_none() -> None:
    noise = [0.3, -1.2, 0.8, 0.1, -0.4, 1.9, -0.7, 0.5]
    points = reaction().decode(reaction().sobol(40, seed=3))
    c = make(strategy=None)
    for p, y in zip(points, noise, strict=False):
        c.add(p, y)
    levels = {k.name: k.level for k in c.health()}
    assert levels["data of yield"] == levels["model of yield"] == "warning"
    good = make(strategy=None)
    for p in points:
        good.add(p, measured(p)["yield"])
    levels = {k.name: k.level for k in good.health()}
    assert levels["data of yield"] == levels["model of yield"] == "ok"
    assert levels["calibration of yield"] != "warning", "its errors are too small to matter"
    constant = make(goals=["maximize yield", "cost <= 0"], strategy=None)
    for p in points[:4]:
        constant.add(p, {"yield": 5.0, "cost": 1.0})
    warned = {k.name for k in constant.health() if k.level == "warning"}
    assert {"variation of yield", "feasible trials"} <= warned
    assert all(k.advice for k in constant.health() if k.level == "warning")
    assert len(constant.ask()) == 1, "a constant outcome stops nothing"


def test_stopping_when_nothing_is_promised() -> None:
    c = make(space=LINE, strategy=None, deterministic=True)
    for _ in range(12):
        (t,) = c.ask()
        c.tell(t.id, -((float(t.parameters["x"]) - 0.3) ** 2))
        if c.stop_reason():
            break
    assert "the last 3 proposals promised" in str(c.stop_reason())
    best = c.best()
    assert best is not None and abs(float(best.parameters["x"]) - 0.3) < 1e-2


def test_strategies_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    c = make(path, strategy=centre)
    play(c, 12)
    assert [t.origin for t in c.trials[10:]] == ["strategy"] * 2
    c.close()
    again = bl.Campaign.open(path)
    with pytest.raises(bl.DataError, match=r"a strategy of your own; pass it to Campaign.open"):
        again.ask()
    assert "centre" in again.strategy
    again = bl.Campaign.open(path, strategy=centre)
    assert again.ask()[0].origin == "strategy"
    with pytest.raises(bl.DataError, match="was created with"):
        bl.Campaign.open(path, strategy=lambda data, bounds, q, seed: None)
    with pytest.raises(bl.DataError, match="did you mean 'log_ei'"):
        make(strategy="log_e")


def centre(data: bl.strategies.StudyData, bounds: torch.Tensor, q: int, seed: int) -> object:
    """Counts its calls, and proposes what is left of a design."""
    count = 0 if data.state is None else int(data.state["count"])  # type: ignore[index]
    assert data.space is not None and data.Y.shape[-1] == 1
    return data.space.sobol(q, seed=count, exclude=data.excluded), {"count": count + 1}


def test_a_strategy_of_the_package_resumes_with_its_memory(tmp_path: Path) -> None:
    small = replace(bl.strategies.log_ei, num_restarts=4, raw_samples=64)
    whole = make(None, strategy=small)
    expected = play(whole, 12)
    path = tmp_path / "a.db"
    c = make(path, strategy=small)
    for point in expected:
        c.close()
        c = bl.Campaign.open(path, strategy=small)
        assert play(c, 1) == [point]


def test_memory_is_kept_exactly_or_not_at_all() -> None:
    state = {"a": torch.rand(2, 3).double(), "b": (1, [None, 0.1 + 0.2]), "c": torch.tensor([True])}
    text = packed(state)
    again = unpacked(text)
    assert torch.equal(again["a"], state["a"]) and again["b"] == state["b"]
    assert again["c"].dtype == torch.bool
    assert packed({"f": print}) is None and packed(torch.rand(2)) is None


def test_a_model_that_fails_does_not_stop_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    c = make(strategy=None)
    play(c, 10)

    def fails(*arguments: object, **options: object) -> None:
        raise bl.FitError("no start gave a finite value")

    monkeypatch.setattr("bolearn.campaign.proposals.believe", fails)
    (t,) = c.ask()
    assert t.origin == "design" and "because the model failed" in c.explain(t.id).rule
