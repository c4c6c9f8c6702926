"""The kit in a real kernel: what is shown, how often, and in which forms."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
CELLS = [
    "import os, sys; sys.path.insert(0, 'docs/examples')\n"
    "from bolearn import teach\nfrom my_exercises import e1, best_so_far as right\n"
    "teach.setup('p1.t1')",
    "def best_so_far(y):\n    # your code here\n    raise NotImplementedError\n\n"
    "teach.check(e1, best_so_far)",
    "result = teach.check(e1, right)",
    "result",
    "def best_so_far(y):\n    return y.no_such_method()\n\nteach.check(e1, best_so_far)",
    "teach.predict('q', '0 or 5?', ['0', '5'], guess=None)",
    "teach.claim('it holds', True)\nteach.claims_table()",
    "from matplotlib import pyplot as plt\nfig, ax = plt.subplots(figsize=(3, 2))\n"
    "ax.plot([0, 1])\nteach.show(fig, 'A line that rises from 0 to 1.', name='line')",
    "print(plt.get_fignums())\nteach.show(plt.figure(), ' ')",
]


@pytest.fixture(scope="module")
def cells():
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    client = NotebookClient(
        notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    nbformat.validate(notebook)
    return notebook.cells


def only(cell):
    assert len(cell.outputs) == 1, cell.outputs
    return cell.outputs[0]


def test_setup_prints_its_line_once(cells):
    assert only(cells[0]).text == "p1.t1 is ready: 1 thread\n"


def test_a_stub_runs_and_is_not_attempted(cells):
    data = only(cells[1]).data
    assert "not attempted" in data["text/plain"] and "not attempted" in data["text/html"]
    assert set(data) == {"text/plain", "text/html"}


def test_a_result_is_shown_once_in_its_cell_and_again_on_request(cells):
    for cell in (cells[2], cells[3]):
        data = only(cell).data
        assert data["text/plain"].startswith("✓ homework.e1 best_so_far: passed")
        assert 'role="status"' in data["text/html"]


def test_an_error_names_the_cells_line_and_no_path(cells):
    text = only(cells[4]).data["text/plain"]
    assert "in best_so_far, line 2: return y.no_such_method()" in text
    assert "ipykernel" not in text and "/" not in text.replace("</", "")


def test_a_question_is_shown(cells):
    assert "no guess yet" in only(cells[5]).data["text/plain"]


def test_the_closing_table(cells):
    stream, table = cells[6].outputs
    assert stream.text == "claim 1 holds: it holds\n"
    assert "What p1.t1 proved</caption>" in table.data["text/html"]
    assert "| 1 | it holds |" in table.data["text/markdown"]
    assert table.data["text/plain"].startswith("What p1.t1 proved\n")


def test_a_figure_has_its_alternative_text_and_is_closed(cells):
    picture, caption = cells[7].outputs
    assert picture.data["text/plain"] == "figure: A line that rises from 0 to 1."
    assert picture.metadata["image/png"]["alt"] == "A line that rises from 0 to 1."
    assert picture.metadata["image/png"]["name"] == "line"
    assert len(picture.data["image/png"]) < 160_000
    assert "A line that rises" in caption.data["text/html"]
    assert cells[8].outputs[0].text == "[]\n"


def test_an_empty_alternative_text_is_refused(cells):
    error = cells[8].outputs[1]
    assert error.ename == "DataError" and "describes the figure" in error.evalue


def test_in_plain_python_a_figure_is_its_words(capsys):
    import matplotlib
    from matplotlib import pyplot

    from bolearn import teach
    from bolearn.errors import DataError

    assert matplotlib.get_backend()
    before = pyplot.get_fignums()
    assert teach.show(pyplot.figure(), "An\n empty   figure.") is None
    assert capsys.readouterr().out == "figure: An empty figure.\n"
    assert pyplot.get_fignums() == before  # it closes what it has shown
    with pytest.raises(DataError, match="expected a matplotlib figure, got int"):
        teach.show(3, "A number.")


def test_importing_the_kit_loads_neither_matplotlib_nor_ipython():
    code = (
        "import json, sys, bolearn; from bolearn import teach\n"
        "print(json.dumps([m for m in ('matplotlib', 'IPython', 'scipy.optimize') "
        "if m in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(run.stdout) == [], run.stderr
