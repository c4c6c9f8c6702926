"""The figures of tutorial 4.5: lines with their envelope, rules on one belief."""

import pytest
import torch

import bolearn as bl
from bolearn import plotting
from bolearn.errors import DataError, ShapeError

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def test_the_shaded_area_is_the_knowledge_gradient():
    a = torch.tensor([0.0, -0.5, -0.3], dtype=torch.float64)
    b = torch.tensor([0.1, 0.9, -0.6], dtype=torch.float64)
    left, right = plotting.envelope(a, b, moved=1, reach=8.0).axes
    z, gain = (torch.as_tensor(v) for v in right.get_lines()[0].get_data())
    exact = bl.log_knowledge_gradient(a, b).exp().item()
    assert torch.trapezoid(gain, z).item() == pytest.approx(exact, rel=1e-3)
    drawn = [torch.as_tensor(line.get_ydata()) for line in left.get_lines()]
    assert len(drawn) == 3 + 2
    torch.testing.assert_close(drawn[3], torch.stack(drawn[:3]).amax(0))
    torch.testing.assert_close(drawn[4], drawn[0])  # today's choice


def test_an_envelope_of_unequal_numbers_is_refused():
    a = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(ShapeError, match="expected 3 slopes"):
        plotting.envelope(a, a[:2], moved=0)
    with pytest.raises(DataError, match="moved from 0 to 2, got 3"):
        plotting.envelope(a, a, moved=3)


def test_rules_are_drawn_over_their_maxima_with_a_mark_on_each():
    X = torch.tensor([[0.1], [0.9]], dtype=torch.float64)
    model = bl.ExactGP(X, X.square(), torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    values = {"one": {"up": 1 + 3 * x, "hill": x * (1 - x)}, "two": {"up": x, "hill": 1 - x}}
    figure = plotting.rules({"one": model, "two": model}, x, values, xlabel="x")
    assert len(figure.axes) == 4
    curve, mark, hill, top = figure.axes[2].get_lines()
    assert curve.get_ydata()[0] == pytest.approx(0.25) and max(hill.get_ydata()) == 1.0
    assert list(mark.get_xdata()) == [1.0] and list(top.get_xdata()) == [pytest.approx(0.5)]
    with pytest.raises(ShapeError, match="up: expected 11 values"):
        plotting.rules({"one": model}, x, {"one": {"up": x[:3]}}, xlabel="x")
