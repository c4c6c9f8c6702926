"""The figures that tutorial 2.3 draws."""

import math

import pytest
import torch

from bolearn import dynamics, plotting
from bolearn.problems import Quadratic

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def test_a_phase_portrait_shows_every_path_and_marks_the_first():
    paths = torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    panels = {"one": paths, "two": -paths}
    figure = plotting.phase_portrait(panels, xlabel="x (m)", ylabel="velocity (m/s)")
    assert [panel.get_title() for panel in figure.axes] == ["one", "two"]
    for panel, expected in zip(figure.axes, panels.values(), strict=True):
        lines = [line for line in panel.get_lines() if len(line.get_xdata()) == 7]
        drawn = {tuple(line.get_xydata().flatten().tolist()) for line in lines}
        assert drawn == {tuple(path.flatten().tolist()) for path in expected.unbind(1)}
        (thick,) = (line for line in lines if line.get_label() == "the path")
        assert thick.get_xydata().tolist() == expected[:, 0].tolist()
        assert panel.get_xlabel() == "x (m)" and panel.get_xlim() == figure.axes[0].get_xlim()
    assert figure.axes[0].get_ylabel() == "velocity (m/s)"


def test_the_triangle_shows_the_paths_of_trace_momentum():
    points = {"swings": (0.5, 0.8), "runs away": (4.1, 1.0), "negative": (0.3, -0.4)}
    figure = plotting.stability_triangle(points, steps=12)
    by_title = {panel.get_title(): panel for panel in figure.axes}
    for label, (h, beta) in points.items():
        run = dynamics.trace_momentum(
            Quadratic([1.0]).loss, torch.ones(1, dtype=torch.float64), h, beta, steps=12
        )
        drawn = by_title[label].get_lines()[-1].get_ydata()
        torch.testing.assert_close(torch.tensor(list(drawn)).double(), run.points[:, 0])
    marked = [tuple(line.get_xydata()[0]) for line in figure.axes[0].get_lines()[-3:]]
    assert marked == list(points.values())


def test_the_triangle_is_coloured_by_the_larger_root():
    figure = plotting.stability_triangle({"a": (0.5, 0.8)})
    areas = next(c for c in figure.axes[0].collections if hasattr(c, "get_paths"))
    assert list(areas.levels) == [k / 10 for k in range(11)]
    for h, beta in ((0.5, 0.8), (0.05, 0.5), (1.2, -0.3), (1.0, 0.05), (3.1, 0.62)):
        roots = torch.linalg.eigvals(
            torch.tensor([[1 + beta - h, -beta], [1.0, 0.0]], dtype=torch.float64)
        )
        layer = math.floor(10 * float(roots.abs().max()))
        # a layer's outer rim encloses the layers within it
        rims = enumerate(areas.get_paths())
        around = [k for k, rim in rims if rim.contains_point((h, beta))]
        assert min(around) == layer
