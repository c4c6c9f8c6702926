"""The figures of what optimisers leave behind: clouds, shares, tables, line searches, batches."""

import pytest
import torch

from bolearn import plotting
from bolearn.errors import ShapeError

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def bowl(x):
    return x.square().sum(-1)


def test_a_cloud_stands_inside_the_ellipse_of_two_standard_deviations():
    covariance = torch.tensor([[4.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    points = torch.tensor([[0.5, -0.5], [1.0, 2.0]])
    figure = plotting.clouds({"a": (points, covariance), "b": (points, torch.eye(2))})
    drawn, edge = figure.axes[0].get_lines()
    assert drawn.get_xydata().tolist() == points.tolist()
    z = torch.tensor(edge.get_xydata())
    squared = ((z @ torch.linalg.inv(covariance)) * z).sum(-1)
    assert torch.allclose(squared, torch.full_like(squared, 4.0))
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]


def test_bars_are_as_high_as_their_shares_and_say_so():
    shares = {"one": torch.tensor([0.25, 0.75]), "two": torch.tensor([0.0, 1.0])}
    figure = plotting.share_bars(["left", "right"], shares, ylabel="share")
    (panel,) = figure.axes
    assert [bar.get_height() for bar in panel.patches] == [0.25, 0.75, 0.0, 1.0]
    assert {text.get_text() for text in panel.texts} == {"25%", "75%", "0%", "100%"}
    with pytest.raises(ShapeError, match="2 shares"):
        plotting.share_bars(["left", "right"], {"one": torch.ones(3)}, ylabel="share")


def test_a_table_writes_every_number_into_its_cell():
    table = torch.tensor([[1.0, 2.5, 3.0], [4.0, 5.0, 6.0]])
    labels = {"xlabel": "x", "ylabel": "n", "label": "value"}
    figure = plotting.value_table(table, [10, 20], ["a", "b", "c"], **labels)
    texts = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert texts[1, 0] == "2.5" and texts[2, 1] == "6.0" and len(texts) == 6
    with pytest.raises(ShapeError, match="expected shape"):
        plotting.value_table(table, [10], ["a", "b", "c"], **labels)


def test_a_line_search_marks_each_length_as_allowed_or_refused():
    eta = torch.linspace(0.0, 2.0, 101)
    long, short = eta > 1.5, eta < 0.25
    figure = plotting.line_search(eta, (1 - eta) ** 2 + 1, 2 - eta / 100, long, short)
    _, strips = figure.axes
    assert [tick.get_text() for tick in strips.get_yticklabels()] == [
        "allowed",
        "too short (Wolfe)",
        "too long (Armijo)",
    ]
    ends = [area.get_paths()[0].get_extents() for area in strips.collections]
    assert ends[0].x0 == pytest.approx(0.25, abs=0.02)
    assert ends[0].x1 == pytest.approx(1.5, abs=0.02)
    assert ends[2].x1 == pytest.approx(2.0)


def test_a_raster_is_white_where_a_row_was_not_asked():
    table = torch.tensor([[1.0, 0.5, torch.nan], [1.0, 0.9, 0.2]])
    figure = plotting.batch_raster(table, xlabel="call", ylabel="row", label="loss")
    (image,) = figure.axes[0].get_images()
    assert image.get_array().mask.tolist() == [[False, False, True], [False, False, False]]


def test_cycle_basins_show_the_pairs_with_x_now_upwards():
    side = torch.linspace(-1.0, 1.0, 5)
    caught = torch.zeros(5, 5, dtype=torch.bool)
    caught[4] = True  # x now = 1
    races = {"ball": torch.tensor([1.0, 0.5]), "descent": torch.tensor([1.0, 0.1])}
    figure = plotting.cycle_basins(side, caught, torch.tensor([[0.5, -0.5]]), races)
    plane, race = figure.axes
    points = {line.get_label(): line.get_xydata().tolist() for line in plane.get_lines()}
    assert points["the cycle"] == [[0.5, -0.5]]
    assert [line.get_label() for line in race.get_lines()] == ["ball", "descent"]


def test_a_landscape_can_show_its_middle_larger():
    figure = plotting.landscape(bowl, 2, {"minimum": torch.zeros(1, 2)}, closeup=0.5)
    large = figure.axes[1] if figure.axes[1].get_xlim() == (-0.5, 0.5) else figure.axes[2]
    assert large.get_xlim() == (-0.5, 0.5) == large.get_ylim()
    assert large.get_title() == "the middle, 4 times larger"


def test_the_triangle_explains_its_dashed_curve():
    figure = plotting.stability_triangle({"swings": (0.5, 0.8)})
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["edge of stability", "equal roots; above, a complex pair"]
