"""The report: what it says, what it computes, and how it behaves in a real browser."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
import torch

import bolearn as bl
from bolearn.campaign import checks, figures, report
from bolearn.campaign.sensitivity import sobol_indices

HOSTILE = "</script><script>window.broken = 1</script><b>&\"'"


def lab(goals: list[str], rounds: int = 12, **options: Any) -> bl.Campaign:
    """A campaign with a model, told by formula."""
    space = bl.Space(
        [
            bl.Real("temperature", 20, 90, unit="°C", step=0.5),
            bl.Real("time", 1, 100, unit="s", log=True),
            bl.Categorical("solvent", ["THF", HOSTILE]),
        ],
        constraints=["temperature + time <= 150"],
    )
    c = bl.Campaign.create(None, space, goals, seed=3, strategy="sobol", budget=20, **options)
    for t in c.ask(rounds):
        p = t.parameters
        good = 60 - ((p["temperature"] - 64) / 10) ** 2 + 2 * math.sin(p["time"])
        found = {"yield": good + (3 if p["solvent"] == "THF" else 0), "cost": p["time"] / 10}
        c.tell(t.id, {name: found[name] for name in c.outcomes}, spent=2.0)
    return c


@pytest.fixture(scope="module")
def campaign() -> bl.Campaign:
    c = lab(["maximize yield", "cost <= 5"], name=HOSTILE, note=f"About {HOSTILE}")
    first, *_ = c.ask(3, by=HOSTILE)
    c.fail(first.id, f"spilled {HOSTILE}")
    return c


@pytest.fixture(scope="module")
def page(campaign: bl.Campaign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign.html(tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def program() -> Iterator[chromium.Chromium]:
    if chromium.PROGRAM is None:
        pytest.skip("Chromium is not installed")
    program = chromium.Chromium()
    yield program
    program.close()


@pytest.fixture
def browser(program: chromium.Chromium) -> Iterator[chromium.Chromium]:
    program.forget()
    yield program
    assert program.errors == [], "the page complained"
    assert program.requests == [], "the page asked the network"


# ------------------------------------------------------------------ in a browser


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (360, True)])
def test_the_page_draws_everything_and_can_be_used_by_everybody(
    page: Path, browser: chromium.Chromium, width: int, dark: bool
) -> None:
    browser.look(width, dark=dark)
    browser.open(page)
    plots = browser.run("document.querySelectorAll('.plot').length")
    assert plots >= 9
    assert browser.run("document.querySelectorAll('.plot .subplot.xy').length") >= plots
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("typeof window.broken") == "undefined"
    assert browser.barriers() == []
    ink = browser.run("getComputedStyle(document.querySelector('.plot .xtick text')).fill")
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    light, shade = (sum(map(int, re.findall(r"\d+", c)[:3])) for c in (ink, paper))
    assert (light > shade) == dark and abs(light - shade) > 500
    alts = browser.run("[...document.querySelectorAll('.plot')].map(p => p.ariaLabel)")
    assert all(len(alt) > 20 for alt in alts) and len(set(alts)) == len(alts)


def test_values_are_shown_where_one_points(page: Path, browser: chromium.Chromium) -> None:
    browser.look(1100)
    browser.open(page)
    place = browser.run(
        "(() => { const p = document.querySelector('.plot .scatterlayer .point');"
        "p.scrollIntoView({block: 'center'}); const b = p.getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    browser._do(lambda: browser._page.mouse.move(place[0] - 3, place[1]))
    browser._do(lambda: browser._page.mouse.move(*place))
    browser.wait("document.querySelector('.hoverlayer text')")
    assert "trial" in browser.run("document.querySelector('.hoverlayer').textContent")


def test_nothing_is_cut_off_on_paper(page: Path, browser: chromium.Chromium) -> None:
    browser.look(1100)
    browser.open(page)
    browser._do(lambda: browser._page.emulate_media(media="print"))
    hidden = browser.run(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollHeight > e.clientHeight + 1)"
        ".length"
    )
    browser._do(lambda: browser._page.emulate_media(media="screen"))
    assert hidden == 0


# ------------------------------------------------------------------ what it says


def test_the_page_says_what_the_campaign_knows(campaign: bl.Campaign, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    body = text.split("<body>")[1].split("<script>/**")[0]
    best = campaign.best()
    assert best is not None and f"Best yield, trial {best.id}" in body
    assert f"{best.outcomes['yield']:.5g}" in body
    for words in ("What is next", "What matters", "Is the model to be trusted?", "Health",
                  "Limits and failures", "Costs", "All trials", "History", "initial design",
                  "spilled", "cost &lt;= 5", "temperature (°C)"):  # fmt: skip
        assert words in body, words
    assert HOSTILE not in text and not re.search(r"<(script|link|img)[^>]+(src|href)=", body)
    assert "default-src 'none'" in text
    for found in re.findall(r'type="application/json" id="[^"]+">(.*?)</script>', body):
        json.loads(found)


def test_a_campaign_without_anything_has_a_page(tmp_path: Path) -> None:
    c = bl.Campaign.create(None, bl.Space([bl.Real("x", 0, 1)]), ["maximize y"], seed=0)
    assert "Nothing has been measured yet" in report.page(c)
    c.ask(2)
    c.tell(0, 1.0)
    text = report.page(c)
    assert "Best y, trial 0" in text and "What matters" not in text
    with pytest.raises(bl.StorageError, match="cannot be written"):
        report.write_html(c, tmp_path / "none" / "report.html")
    with pytest.raises(bl.DataError, match="expected the path"):
        report.write_html(c, None)


def test_several_goals_have_a_front() -> None:
    c = lab(["maximize yield", "minimize cost"])
    figure = figures.front(c)
    best = c.pareto()
    assert figure is not None
    shown = {(x, y) for x, y in zip(figure.data[1].x, figure.data[1].y, strict=True)}
    assert shown == {(t.values["yield"], t.values["cost"]) for t in best}
    assert "Trade-offs" in report._Page(c).front()


# ------------------------------------------------------------------ what it computes


def test_progress_and_costs_are_sums_and_maxima(campaign: bl.Campaign) -> None:
    figure = figures.progress(campaign)
    assert figure is not None
    line = figure.data[-1]
    best = campaign.best()
    assert best is not None and line.y[-1] == best.values["yield"]
    assert list(line.y) == sorted(line.y)
    paid = figures.costs(campaign)
    assert paid is not None and list(paid.data[0].y) == [2.0 * i for i in range(1, 13)]


def test_slices_and_maps_are_the_models_predictions(campaign: bl.Campaign) -> None:
    figure = figures.slice_through(campaign, "time")
    best = figures.best_point(campaign)
    assert figure is not None and best is not None
    line = figure.data[1]
    point = {**best, "time": line.x[7]}
    assert line.y[7] == pytest.approx(campaign.predict(point)["yield"].mean, rel=1e-9)
    assert line.x[20] == pytest.approx(10.0)  # half of a logarithmic axis
    drawn = figures.pair_map(campaign, "temperature", "time")
    assert drawn is not None
    z = drawn.data[0]
    for i, time in enumerate(z.y):
        for j, temperature in enumerate(z.x):
            assert (z.z[i][j] is None or math.isnan(z.z[i][j])) == (temperature + time > 150)
    with pytest.raises(bl.DataError, match="two numeric"):
        figures.pair_map(campaign, "time", "solvent")
    with pytest.raises(bl.DataError, match="expected one of"):
        figures.progress(campaign, "colour")


def test_feasibility_is_the_product_of_its_probabilities(campaign: bl.Campaign) -> None:
    figure = figures.feasibility(campaign, "time")
    best = figures.best_point(campaign)
    assert figure is not None and best is not None
    line, normal = figure.data[0], torch.distributions.Normal(0.0, 1.0)
    p = campaign.predict({**best, "time": line.x[30]})["cost"]
    kept = normal.cdf(torch.tensor((5 - p.mean) / p.std)).item()
    assert line.y[30] <= kept + 1e-6 and line.y[0] > 0.5 > line.y[-1]
    no_limits = lab(["maximize yield"], rounds=6)
    assert figures.feasibility(no_limits, "time") is None


def test_leave_one_out_is_a_model_without_the_trial(campaign: bl.Campaign) -> None:
    beliefs = campaign._beliefs(campaign._view())
    assert beliefs is not None
    figure = figures.leave_one_out(campaign)
    assert figure is not None
    model, i = checks._parts(beliefs.model, 0)
    expected = bl.leave_one_out(model)
    drawn = figure.data[1]
    assert list(drawn.x) == pytest.approx(expected.mean[:, i].tolist(), rel=1e-8)
    assert list(drawn.error_x.array) == pytest.approx(
        (1.96 * expected.variance[:, i].sqrt()).tolist(), rel=1e-6
    )


def test_calibration_compares_with_what_was_stored() -> None:
    space = bl.Space([bl.Real("x", 0, 1)])
    c = bl.Campaign.create(None, space, ["maximize y"], seed=1, budget=8)
    bl.run(c, lambda p: math.sin(5 * p["x"]))
    figure = figures.calibration(c)
    asked = [t for t in c.trials if t.origin == "model"]
    assert figure is not None and len(asked) == 4
    expected = [t.proposal["predicted"]["y"]["mean"] for t in asked if t.proposal]
    assert list(figure.data[1].x) == expected
    assert list(figure.data[1].y) == [t.values["y"] for t in asked]


def test_sobol_indices_against_the_closed_form() -> None:
    """f = a x + b y + c x y with x, y uniform on their axes: a learnt model has its indices."""
    space = bl.Space([bl.Real("x", 0, 1), bl.Real("y", 1, 100, log=True), bl.Real("z", 5, 6)])
    c = bl.Campaign.create(None, space, ["maximize f"], seed=0, strategy="sobol")

    def f(p: dict[str, Any]) -> float:
        u = math.log(p["y"]) / math.log(100)
        return float(4 * p["x"] + 2 * u + 6 * p["x"] * u)

    for t in c.ask(60):
        c.tell(t.id, f(t.parameters))
    found = sobol_indices(c, "f", samples=512)
    assert found is not None
    # main effects 4 + 3 and 2 + 3 on [0, 1], interaction 6 (x - 1/2)(u - 1/2)
    x, y, xy = 49 / 12, 25 / 12, 36 / 144
    total = x + y + xy
    for name, first, whole in (("x", x, x + xy), ("y", y, y + xy), ("z", 0.0, 0.0)):
        s = found[name]
        assert s.first == pytest.approx(first / total, abs=0.04)
        assert s.total == pytest.approx(whole / total, abs=0.04)
        assert s.first_interval[0] <= s.first <= s.first_interval[1]
        assert s.total_interval[0] <= s.total <= s.total_interval[1]
    assert sobol_indices(c, "f", samples=64, seed=1) != sobol_indices(c, "f", samples=64)
