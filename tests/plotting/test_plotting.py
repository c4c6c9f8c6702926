"""Figures: readable without colours, small, and drawn from the numbers they claim to show."""

import io
import subprocess
import sys
from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.figure import Figure

from bolearn import plotting, strategies
from bolearn.acquisition.analytic import LogExpectedImprovement
from bolearn.acquisition.incumbent import incumbent
from bolearn.errors import DataError, ShapeError
from bolearn.models.exact import ExactGP
from bolearn.problems import Branin, Forrester, Hartmann6, Problem
from bolearn.sampling import sobol_points
from bolearn.studies.loop import study
from bolearn.studies.results import StudyResult


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context():
        plotting.use_style()
        yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def result() -> StudyResult:
    arms = {"random": strategies.random, "Sobol": strategies.sobol}
    return study(Branin(noise_std=1.0), arms, n_init=4, n_iter=10, replicates=12)


def png_size(figure: Figure) -> int:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return len(out.getvalue())


def luminance(color: str) -> float:
    red, green, blue = matplotlib.colors.to_rgb(color)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_importing_plotting_does_not_import_matplotlib() -> None:
    code = "import sys, bolearn.plotting; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_curve_is_the_median_and_the_band_its_quantiles(result: StudyResult) -> None:
    figure = plotting.regret_bands(result, quantiles=(0.1, 0.9))
    axes = figure.axes[0]
    for line, band, name in zip(axes.lines, axes.collections, result.names, strict=True):
        regret = result.regret(name).numpy()
        np.testing.assert_allclose(line.get_ydata(), np.median(regret, axis=0))
        outline = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose(outline.min(), np.quantile(regret, 0.1, axis=0).min())
        np.testing.assert_allclose(outline.max(), np.quantile(regret, 0.9, axis=0).max())
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(result.names)


def test_lines_differ_without_their_colours() -> None:
    arms = {f"arm {k}": strategies.random for k in range(8)}
    many = study(Branin(), arms, n_init=2, n_iter=3, replicates=2)
    lines = plotting.regret_bands(many).axes[0].lines
    assert len({line.get_marker() for line in lines}) == 8
    assert len({str(line._unscaled_dash_pattern) for line in lines}) >= 7


def test_a_strategy_keeps_its_look_when_others_are_left_out(result: StudyResult) -> None:
    all_of_them = plotting.regret_bands(result).axes[0].lines[1]
    alone = plotting.regret_bands(result, ["Sobol"]).axes[0].lines[0]
    assert alone.get_color() == all_of_them.get_color()
    assert alone.get_marker() == all_of_them.get_marker()


def test_axes_say_what_they_show(result: StudyResult) -> None:
    figures = {
        "bands": plotting.regret_bands(result),
        "paired": plotting.paired_differences(result, "Sobol", "random"),
        "map": plotting.contour(Branin(), X=result.X["Sobol"][0], n_init=4),
    }
    for name, figure in figures.items():
        axes = figure.axes[0]
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title(), name
        assert png_size(figure) < 120_000, name


def test_regret_of_zero_is_drawn_and_said() -> None:
    problem = Problem(lambda X: -((X / 5) ** 2).sum(-1).round(), Branin().bounds, optimal_value=0.0)
    exact = study(problem, {"Sobol": strategies.sobol}, n_init=4, n_iter=60, replicates=8)
    assert (exact.regret("Sobol") == 0).any()
    axes = plotting.regret_bands(exact).axes[0]
    assert np.isfinite(axes.lines[0].get_ydata()).all()
    assert "zero" in axes.get_ylabel()


def test_without_an_optimum_the_best_value_is_shown() -> None:
    problem = Problem(lambda X: -(X**2).sum(-1), Branin().bounds, output="yield (%)")
    unknown = study(problem, {"random": strategies.random}, 3, 5, replicates=4)
    axes = plotting.regret_bands(unknown).axes[0]
    assert axes.get_yscale() == "linear" and axes.get_ylabel() == "best value\nyield (%)"
    plotting.paired_differences(unknown, "random", "random")


def test_paired_differences_are_the_sorted_differences(result: StudyResult) -> None:
    axes = plotting.paired_differences(result, "Sobol", "random", at=9).axes[0]
    expected = result.scores("Sobol", at=9) - result.scores("random", at=9)
    drawn = [y for line in axes.lines[2:] for y in line.get_ydata()]
    np.testing.assert_allclose(sorted(drawn), expected.sort().values.numpy())
    assert "9 evaluations" in axes.get_title()


def test_a_map_shows_points_and_optima_in_user_units() -> None:
    X = sobol_points(Branin().bounds, 6, seed=0)
    axes = plotting.contour(Branin(), X=X, n_init=2).axes[0]
    drawn = {line.get_label(): np.column_stack(line.get_data()) for line in axes.lines}
    np.testing.assert_allclose(drawn["optimum"], Branin().optimal_points.numpy())
    np.testing.assert_allclose(drawn["initial design"], X[:2].numpy())
    np.testing.assert_allclose(drawn["evaluated"], X[2:].numpy())


def test_a_constant_problem_has_a_map_too() -> None:
    flat = Problem(lambda X: torch.zeros(len(X), dtype=torch.float64), Branin().bounds)
    assert png_size(plotting.contour(flat)) > 0


def test_maps_need_two_inputs() -> None:
    with pytest.raises(DataError, match="d = 6"):
        plotting.contour(Hartmann6())


def test_one_dimensional_posterior_mean_band_and_next_point() -> None:
    problem = Forrester()
    X = torch.tensor([[0.1], [0.4], [0.9]], dtype=torch.float64)
    model = ExactGP(X, problem(X), problem.bounds)
    acquisition = LogExpectedImprovement(model, best_f=incumbent(model, X).value)
    figure = plotting.posterior_1d(
        model, problem=problem, acquisition=acquisition, x_next=X[:1] + 0.05
    )
    upper, lower = figure.axes
    lines = {line.get_label(): line for line in upper.lines}
    grid = torch.linspace(0, 1, 201, dtype=torch.float64).reshape(-1, 1, 1)
    posterior = model.posterior(grid)
    mean = posterior.mean.flatten().detach().numpy()
    np.testing.assert_allclose(lines["posterior mean"].get_ydata(), mean)
    np.testing.assert_allclose(lines["data"].get_ydata(), problem(X)[:, 0].numpy())
    assert list(lines["next point"].get_xdata()) == pytest.approx([0.15, 0.15])
    values = acquisition(grid).detach().numpy()
    np.testing.assert_allclose(lower.lines[0].get_ydata(), values)
    assert png_size(figure) < 120_000


def test_one_dimensional_posterior_refuses_other_models() -> None:
    X = sobol_points(Branin().bounds, 5, seed=0)
    with pytest.raises(ShapeError, match="X: n 1"):
        plotting.posterior_1d(ExactGP(X, Branin()(X), Branin().bounds))


def test_line_colours_stand_out_from_a_white_page_yellow_last() -> None:
    values = [luminance(color) for color in plotting.OKABE_ITO.values()]
    assert max(values[:-1]) < 0.75 < values[-1]


def test_figures_are_drawn_where_asked(result: StudyResult) -> None:
    figure, panels = pyplot.subplots(1, 2)
    assert plotting.regret_bands(result, ax=panels[0]) is figure
    assert plotting.contour(Branin(), ax=panels[1]) is figure
