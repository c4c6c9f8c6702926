"""The figures to play with: what Python puts into a page, what the page computes, how it behaves.

The pages' numbers are compared with torch and NumPy under Node.js, or in Chromium where Node.js is
missing; their behaviour is tested in Chromium. Without these programs the tests that need them are
skipped.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import chromium
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from bolearn import dynamics, teach
from bolearn.acquisition.lookahead import log_knowledge_gradient
from bolearn.errors import DataError
from bolearn.teach import explorables

ROOT = Path(__file__).parents[2]
NAMES = list(explorables.PAGES)
NODE = shutil.which("node")
needs_browser = pytest.mark.skipif(chromium.PROGRAM is None, reason="Chromium is not installed")


# ------------------------------------------------------------------ what Python puts into a page


class Attributes(HTMLParser):
    """The attributes of the only `<iframe>` in a text."""

    found: dict[str, str | None]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "iframe":
            self.found = dict(attrs)


def stored_state(document: str) -> dict[str, Any]:
    match = re.search(r'id="state">(.*?)</script>', document, re.DOTALL)
    assert match is not None
    state: dict[str, Any] = json.loads(match[1])
    return state


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_small_and_asks_the_network_for_nothing(name: str) -> None:
    document = explorables.page(name)
    assert len(document.encode()) < (150_000 if name == "goldmine" else 25_000)
    assert "http" not in document and "//" not in re.sub(r"(^|\s)//[ ]", "", document)
    assert not re.search(r"\bimport\b|\bsrc=|\bfetch\(|@import|url\((?!#)", document)
    assert "/* shared" not in document
    assert "prefers-color-scheme" in document and 'aria-live="polite"' in document


def test_the_file_patterns_of_the_package_cover_every_page() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["*"]
    files = [p for p in explorables.FOLDER.iterdir() if p.is_file() and p.suffix != ".py"]
    assert {p.name for p in files} == {*explorables.PAGES.values(), *explorables.SHARED}
    assert all(any(p.match(pattern) for pattern in patterns) for p in files)


@pytest.mark.parametrize("name", NAMES)
def test_the_frame_holds_the_page_and_nothing_escapes_from_it(name: str) -> None:
    document = explorables.page(name)
    parser = Attributes()
    parser.feed(explorables.frame(document))
    assert parser.found["srcdoc"] == document
    assert parser.found["sandbox"] == "allow-scripts"
    assert parser.found["title"]


def test_the_state_arrives_rounded_and_sorted_whatever_its_types() -> None:
    given = {
        "theta": torch.tensor([1 / 3, -0.25], dtype=torch.float64, requires_grad=True),
        "lengths": (np.float64(1.0), np.float32(0.5)),
        "v": np.float64(2 / 3),
    }
    document = explorables.page("vjp_ellipse", given)
    assert '{"lengths":[1.0,0.5],"theta":[0.333333,-0.25],"v":0.666667}' in document
    assert document == explorables.page("vjp_ellipse", dict(reversed(given.items())))
    nudged = given | {"v": 2 / 3 + 1e-12}
    assert document == explorables.page("vjp_ellipse", nudged)


def test_what_is_left_out_starts_as_the_page_thinks_best() -> None:
    own = stored_state(explorables.page("cobweb"))
    assert stored_state(explorables.page("cobweb", {"eta": 1.5})) == own | {"eta": 1.5}


HOSTILE = "</script><script>window.broken = 1</script><!--\u2028&quot;\"'"


def hostile_graph() -> dict[str, Any]:
    return {
        "nodes": [
            {"name": HOSTILE, "formula": "", "value": 1},
            {"name": "b", "formula": "<b>2 a</b>", "value": 2},
        ],
        "edges": [{"from": HOSTILE, "to": "b", "slope": 2}],
    }


def test_text_in_the_state_cannot_end_the_script() -> None:
    document = explorables.page("graph_stepper", hostile_graph())
    assert document.count("</script>") == explorables.page("graph_stepper").count("</script>")
    assert stored_state(document) == hostile_graph()


NODES = [{"name": n, "formula": "", "value": 1} for n in "ab"]
OP = {"label": "x", "shape": [3, 4], "strides": [4, 1], "offset": 0, "own": None}


@pytest.mark.parametrize(
    ("name", "state", "message"),
    [
        ("cobwebs", {}, "expected a page among cobweb, .*goldmine, .*; got 'cobwebs'"),
        ("cobweb", {"step": 1}, "keys function, a, eta, x0; got also step"),
        ("cobweb", {"eta": "large"}, "expected eta to be a number, got 'large'"),
        ("cobweb", {"eta": True}, "expected eta to be a number, got True"),
        ("cobweb", {"eta": math.nan}, "expected finite numbers in eta, got nan"),
        ("cobweb", {"eta": 0.0}, "expected a step size eta > 0"),
        ("cobweb", {"function": "cubic"}, "quadratic, double_well; got 'cubic'"),
        ("cobweb", {"a": -1.0}, "expected a curvature a > 0"),
        ("cobweb", {"x0": 3}, r"expected a start x0 in \[-2, 2\], got 3"),
        ("cobweb", {"eta": object()}, "numbers, texts, lists and dicts in eta, got object"),
        ("stability_triangle", {"beta": 2}, "which is what the picture shows; got 0.5 and 2"),
        ("conditioning", {"kappa": 0.5}, r"expected kappa in \[1, 1000\], got 0.5"),
        ("conditioning", {"eta_factor": 3}, "a multiple of 2 / .* got 3"),
        ("vjp_ellipse", {"theta": [1.0]}, r"expected two numbers as theta, got \[1.0\]"),
        ("vjp_ellipse", {"lengths": [1, 0]}, "expected lengths > 0"),
        ("vjp_ellipse", {"v": 4}, r"in \[-pi, pi\], got 1.2 and 4"),
        ("graph_stepper", {"nodes": []}, "expected at least one node"),
        ("graph_stepper", {"nodes": [*NODES, NODES[0]]}, "two nodes are called 'a'"),
        ("graph_stepper", {"nodes": [{"name": "a"}]}, "a node: expected a dict with name, form"),
        (
            "graph_stepper",
            {"nodes": NODES, "edges": [{"from": "b", "to": "a", "slope": 1}]},
            "to a later one in the list a, b; got b -> a",
        ),
        ("memory_layout", {"storage": list(range(17))}, "expected a storage of 1 to 16 numbers"),
        ("memory_layout", {"operations": []}, "expected at least one operation"),
        ("memory_layout", {"operations": [OP | {"offset": 1}]}, "from 0 to 11, got 1 to 12"),
        ("memory_layout", {"operations": [OP | {"shape": [2, 3, 2]}]}, "one or two axes"),
        ("memory_layout", {"operations": [OP | {"own": "x"}]}, "of the right kinds"),
        ("goldmine", {"mine": "silver"}, "mine to be one of gold, .*riddle; got 'silver'"),
        ("goldmine", {"seed": 0.5}, r"a whole number below 2\*\*31 as seed, got 0.5"),
        ("goldmine", {"drills": [1.0] * 41}, "at most 40 places as drills"),
        ("goldmine", {"beta": 20}, r"expected beta in \[0, 16\], got 20"),
        ("goldmine", {"model": {"lengthscale": 0}}, "positive lengthscale in model, got 0"),
        ("goldmine", {"model": {"nu": 2.5}}, "numbers as lengthscale, .*got 'nu': 2.5"),
        ("knowledge_gradient", {"heights": [1, 2]}, "as many slopes"),
        ("knowledge_gradient", {"heights": [0, 1, 2, 1, 9]}, "from -2.5 to 2.5"),
        ("knowledge_gradient", {"moved": 5}, "a line from 0 to 4, got 5"),
        ("knowledge_gradient", {"noise": -1}, "expected noise >= 0, got -1"),
    ],
)
def test_a_wrong_state_is_refused_at_the_border(
    name: str, state: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        explorables.page(name, state)


def test_in_plain_python_only_the_words_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from matplotlib import pyplot

    still = pyplot.figure()
    teach.explorable("cobweb", {}, still=still, alt="An\n empty  figure.")
    assert capsys.readouterr().out == "figure: An empty figure.\n"
    assert still.number not in pyplot.get_fignums()


def test_in_a_notebook_the_still_figure_comes_first_and_every_run_gives_the_same() -> None:
    cell = (
        "from bolearn import teach\nfrom matplotlib import pyplot\n"
        "teach.explorable('cobweb', {'eta': 1.8}, still=pyplot.figure(), alt='A map.')"
    )
    notebook = new_notebook(cells=[new_code_cell(cell), new_code_cell(cell)])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    nbformat.validate(notebook)
    first, second = ([dict(output.data) for output in c.outputs] for c in notebook.cells)
    assert first == second
    assert [sorted(data) for data in first] == [
        ["image/png", "text/plain"],
        ["text/html", "text/plain"],
        ["text/html", "text/plain"],
    ]
    assert first[2]["text/html"] == explorables.frame(explorables.page("cobweb", {"eta": 1.8}))
    assert first[2]["text/plain"].startswith("interactive figure, Gradient descent")


def test_the_page_for_authors_runs_and_lists_every_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "explorables.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, {})
    assert capsys.readouterr().out.startswith("figure: Four positions")
    assert stored_state((tmp_path / "cobweb.html").read_text(encoding="utf-8"))["eta"] == 2.05
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", text, re.MULTILINE))
    assert sorted(rows) == sorted(NAMES)
    for name in set(NAMES) - {"memory_layout"}:
        keys = stored_state(explorables.page(name))
        assert all(f"`{key}`" in rows[name] for key in keys), name


# ------------------------------------------------------------------ what a page computes


def script_of(name: str) -> str:
    """The page's helpers and its numbers; nothing that draws."""
    shared = (explorables.FOLDER / "shared.js").read_text(encoding="utf-8")
    text = (explorables.FOLDER / explorables.PAGES[name]).read_text(encoding="utf-8")
    model = re.search(r'<script id="model">(.*?)</script>', text, re.DOTALL)
    assert model is not None
    return shared + model[1]


@pytest.fixture(scope="module")
def compute(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str], Any]]:
    """The value of an expression in the names of a page's model, as JSON gives it."""
    if NODE is not None:
        node = NODE
        stub = "globalThis.document = {getElementById: () => ({textContent: '{}'})};\n"

        def by_node(name: str, expression: str) -> Any:
            code = f"{stub}{script_of(name)}\nconsole.log(JSON.stringify({expression}));"
            run = [node, "-e", code]
            return json.loads(subprocess.run(run, capture_output=True, check=True).stdout)

        yield by_node
        return
    if chromium.PROGRAM is None:
        pytest.skip("neither Node.js nor Chromium is installed")
    folder = tmp_path_factory.mktemp("numbers")
    browser = request.getfixturevalue("program")

    def by_browser(name: str, expression: str) -> Any:
        file = folder / f"{name}.html"
        file.write_text(explorables.page(name), encoding="utf-8")
        browser.open(file)
        return json.loads(browser.run(f"JSON.stringify({expression})"))

    yield by_browser


def worst(found: Any, wanted: Any) -> float:
    a = np.asarray(found, dtype=float)
    b = np.asarray(wanted, dtype=float)
    assert a.shape == b.shape and a.size > 0
    return float(np.max(np.abs(a - b)))


def well(x: torch.Tensor) -> torch.Tensor:
    return (x**4 / 4 - x**2 / 2).sum(-1)


def test_cobweb_steps_as_gradient_descent_does(compute: Callable[[str, str], Any]) -> None:
    states = [
        {"function": f, "a": a, "eta": eta, "x0": x0}
        for f, a, eta, x0 in [
            ("quadratic", 1.7, 0.4, 1.3),
            ("quadratic", 0.5, 3.1, -0.7),
            ("double_well", 1.0, 0.3, 0.2),
            ("double_well", 1.0, 0.9, -1.6),
        ]
    ]
    found = compute("cobweb", f"{json.dumps(states)}.map(s => orbit(s, 12))")
    for s, orbit in zip(states, found, strict=True):

        def loss(x: torch.Tensor, s: dict[str, Any] = s) -> torch.Tensor:
            return well(x) if s["function"] == "double_well" else s["a"] * x.square().sum(-1) / 2

        start = torch.tensor([s["x0"]], dtype=torch.float64)
        trace = dynamics.trace_gd(loss, start, lr=float(s["eta"]), steps=12)
        assert worst(orbit, trace.points[:, 0].tolist()) < 1e-12


def test_cobweb_says_what_the_theory_says(compute: Callable[[str, str], Any]) -> None:
    by_multiplier = {0.5: "monotone", 0.0: "at once", -0.5: "oscillating", -0.97: "oscillating"}
    by_multiplier |= {0.98: "monotone", -1.0: "2-cycle", -1.02: "diverging"}
    cases = [({"function": "quadratic", "a": 2.0, "eta": (1 - m) / 2}, k)
             for m, k in by_multiplier.items()]  # fmt: skip
    # Near x = +-1 the curvature is 2; 0 is a maximum; from x² > 1 + 2/eta on each hop is longer.
    cases += [({"function": "double_well", "eta": eta}, kind) for eta, kind in
              [(0.3, "monotone"), (0.5, "at once"), (0.8, "oscillating"), (1.0, "edge"),
               (1.1, "2-cycle")]]  # fmt: skip
    cases += [({"function": "double_well", "eta": 0.7, "x0": 0}, "rest")]
    cases += [({"function": "double_well", "eta": 0.8, "x0": 1.9}, "diverging")]
    states = [{"a": 1.0, "x0": 0.4} | state for state, _ in cases]
    found = compute("cobweb", f"{json.dumps(states)}.map(verdict)")
    assert [v["kind"] for v in found] == [kind for _, kind in cases]
    p, q = next(v["tail"] for v in found if "tail" in v)

    def step(x: float) -> float:
        return x - 1.1 * (x**3 - x)

    assert abs(p - q) > 0.1 and max(abs(step(p) - q), abs(step(q) - p)) < 1e-9
    told = compute("cobweb", f"multiplier({json.dumps(states[-2])}, -1)")
    assert abs(told - (1 - 0.7 * 2)) < 1e-12


def test_the_heavy_balls_eigenvalues_and_orbit(compute: Callable[[str, str], Any]) -> None:
    rng = np.random.default_rng(0)
    plane = [(h, b) for h, b in rng.uniform([0.02, -1.05], [4.2, 1.05], (60, 2)).round(2).tolist()]
    plane = [(h, b) for h, b in plane if abs((1 + b - h) ** 2 - 4 * b) > 1e-3]
    found = compute(
        "stability_triangle",
        f"{json.dumps(plane)}.map(([h, b]) => [eigenvalues(h, b), modulus(h, b), orbit(h, b, 9)])",
    )
    kinds = set()
    for (h, b), (pair, modulus, orbit) in zip(plane, found, strict=True):
        companion = np.array([[1 + b - h, -b], [1.0, 0.0]])
        wanted = np.sort_complex(np.linalg.eigvals(companion))
        assert worst(np.abs(np.sort_complex([complex(*z) for z in pair]) - wanted), [0, 0]) < 1e-12
        assert abs(modulus - np.abs(wanted).max()) < 1e-12
        powers = [np.linalg.matrix_power(companion, t) @ [1.0, 1.0] for t in range(10)]
        assert worst(orbit, [x for x, _ in powers]) < 1e-12 * max(1, modulus**9)
        kinds.add((bool(abs(wanted[0].imag) > 0), bool(modulus < 1)))
    assert len(kinds) == 4  # real and complex, at rest and running away


def test_on_the_nested_triangles_the_modulus_is_their_number(
    compute: Callable[[str, str], Any],
) -> None:
    sizes = [1, 0.9, 0.5, 0.1]
    found = compute(
        "stability_triangle",
        f"""{json.dumps(sizes)}.map(r => {{
        const c = contour(r);
        return [0, 1, 2].flatMap(k => [0.25, 0.5, 0.75].map(t => modulus(
            c[k][0] * t + c[(k + 1) % 3][0] * (1 - t), c[k][1] * t + c[(k + 1) % 3][1] * (1 - t))));
    }})""",
    )
    for r, moduli in zip(sizes, found, strict=True):
        assert worst(moduli, [r] * 9) < 1e-12
    for h in (0.1, 0.9, 2.0, 3.9):  # no other momentum is better than the one that the page names
        best, told, at_it = compute(
            "stability_triangle",
            f"[Math.min(...range(4001).map(k => modulus({h}, k / 2000 - 1))), bestBeta({h}), "
            f"modulus({h}, bestBeta({h}))]",
        )
        assert abs(told - (1 - math.sqrt(h)) ** 2) < 1e-12
        assert abs(at_it - abs(1 - math.sqrt(h))) < 1e-7 and at_it <= best + 1e-7


def test_conditioning_walks_the_path_and_names_the_rate(
    compute: Callable[[str, str], Any],
) -> None:
    for kappa, factor in [(12.0, 1.0), (100.0, 0.6), (3.0, 1.2), (1.0, 1.0)]:
        s = json.dumps({"kappa": kappa, "eta_factor": factor})
        path, told, rate = compute(
            "conditioning", f"[path({s}, [0.6, -0.2], 15), distances(path({s}, [0.6, -0.2], 15)), "
            f"bestRate({kappa})]"
        )  # fmt: skip
        curvatures = torch.tensor([1.0, kappa], dtype=torch.float64)
        start = torch.tensor([0.6, -0.2], dtype=torch.float64)
        trace = dynamics.trace_gd(
            lambda x, c=curvatures: 0.5 * (c * x.square()).sum(-1),
            start, lr=factor * 2 / (kappa + 1), steps=15,
        )  # fmt: skip
        assert worst(path, trace.points.tolist()) < 1e-12
        norms = trace.points.norm(dim=-1)
        assert worst(told, (norms / norms[0]).tolist()) < 1e-12
        if factor == 1:  # at the best step size both directions lose the same in every step
            assert worst(told, [((kappa - 1) / (kappa + 1)) ** t for t in range(16)]) < 1e-12
        assert abs(rate - (kappa - 1) / (kappa + 1)) < 1e-12


def random_graph(seed: int) -> tuple[dict[str, Any], list[float]]:
    """A random calculation as a state of the page, and torch's gradient in its inputs."""
    rng = random.Random(seed)
    leaves = [torch.tensor(rng.uniform(-1, 1), dtype=torch.float64) for _ in range(3)]
    values = [leaf.requires_grad_() for leaf in leaves]
    edges = []
    for _ in range(6):
        i, j = rng.randrange(len(values)), rng.randrange(len(values))
        a, b = values[i], values[j]
        new, slopes = (a * b, (b, a)) if rng.random() < 0.5 else (a + b.sin(), (a * 0 + 1, b.cos()))
        for k, slope in zip((i, j), slopes, strict=True):
            edges.append({"from": str(k), "to": str(len(values)), "slope": float(slope.detach())})
        values.append(new)
    nodes = [
        {"name": str(k), "formula": "", "value": float(v.detach())} for k, v in enumerate(values)
    ]
    gradient = torch.autograd.grad(values[-1], leaves, materialize_grads=True)
    return {"nodes": nodes, "edges": edges}, [float(g) for g in gradient]


def test_the_stepper_finds_torchs_gradient_and_nobody_pays_too_early(
    compute: Callable[[str, str], Any],
) -> None:
    graphs = [random_graph(seed) for seed in range(30)]
    states = json.dumps([state for state, _ in graphs])
    found = compute("graph_stepper", f"{states}.map(g => [plan(g), known(plan(g), 99).adjoint])")
    shared = 0
    for (state, gradient), (steps, adjoint) in zip(graphs, found, strict=True):
        assert worst([adjoint.get(str(k), 0.0) for k in range(3)], gradient) < 1e-12
        count = len(state["nodes"])
        assert [s["kind"] for s in steps[: count + 1]] == ["value"] * count + ["seed"]
        back = steps[count + 1 :]
        for k, step in enumerate(back):
            assert all(later["to"] != step["from"] for later in back[k:])
            assert step["amount"] == step["give"] * step["slope"]
            shared += step["before"] != 0
    assert shared > 30  # adjoints that arrive in several parts are what the page is about


def test_the_arms_answer_is_torchs_vjp(compute: Callable[[str, str], Any]) -> None:
    lengths = [1.0, 0.7]

    def hand(theta: torch.Tensor) -> torch.Tensor:
        a, b = theta[0], theta.sum()
        x = lengths[0] * torch.cos(a) + lengths[1] * torch.cos(b)
        return torch.stack([x, lengths[0] * torch.sin(a) + lengths[1] * torch.sin(b)])

    angles = [-2.5, -0.3, 0.0, 1e-6, 1.2]
    cases = list(itertools.product(angles, angles, [0.0, 0.9, -2.0]))
    found = compute(
        "vjp_ellipse",
        f"{json.dumps(cases)}.map(([a, b, v]) => {{ const s = {{theta: [a, b], lengths: "
        f"{lengths}}}; return [joints(s)[1], jacobian(s), pullBack(s, v), determinant(s), "
        "singularValues(s)]; })",
    )
    for (a, b, v), (tip, jacobian, answer, det, sizes) in zip(cases, found, strict=True):
        theta = torch.tensor([a, b], dtype=torch.float64)
        value, pull = torch.func.vjp(hand, theta)
        upstream = torch.tensor([math.cos(v), math.sin(v)], dtype=torch.float64)
        J = torch.func.jacrev(hand)(theta)
        assert worst(tip, value.tolist()) < 1e-12 and worst(jacobian, J.tolist()) < 1e-12
        assert worst(answer, pull(upstream)[0].tolist()) < 1e-12
        assert abs(det - float(torch.linalg.det(J))) < 1e-12
        assert worst(sizes, torch.linalg.svdvals(J).tolist()) < 1e-12


def test_memory_layout_reads_what_torch_reads(compute: Callable[[str, str], Any]) -> None:
    x = torch.arange(12.0).reshape(3, 4)
    derived = {
        "x": x, "x.T": x.T, "x[1:, ::2]": x[1:, ::2], "x[1]": x[1], "x[:, 2]": x[:, 2],
        "expand": x[:1].expand(3, 4), "flip": x.flip(1), "contiguous": x.T.contiguous(),
        "cut": x.T.contiguous()[1:],
    }  # fmt: skip
    state = explorables.memory_state(x, derived)
    explorables.page("memory_layout", state)
    owners = {o["label"] for o in state["operations"] if o["own"] is not None}
    assert owners == {"flip", "contiguous", "cut"}
    found = compute(
        "memory_layout",
        f"{json.dumps(state['operations'])}.map(o => range(entries(o)).map(k => place(o, k)))",
    )
    for operation, places, t in zip(state["operations"], found, derived.values(), strict=True):
        storage = state["storage"] if operation["own"] is None else operation["own"]
        assert [storage[place] for place in places] == t.flatten().tolist()


def test_the_area_under_the_envelope_is_the_knowledge_gradient(
    compute: Callable[[str, str], Any],
) -> None:
    g = torch.Generator().manual_seed(0)
    lines = torch.randn(12, 2, 6, dtype=torch.float64, generator=g).clamp(-2.5, 2.5)
    lines[0] = torch.tensor([[0.0, -3, 0, -1, -1, 0], [0, 1, 2, 1, 1, 2]])  # ties and copies
    lines[1, 1] = 0.5  # parallel
    noises = [0.0, 0.0, *(0.4 * k for k in range(10))]
    states = [
        {"heights": a.tolist(), "slopes": b.tolist(), "moved": 4, "noise": noise}
        for (a, b), noise in zip(lines, noises, strict=True)
    ]
    found = compute("knowledge_gradient", f"{json.dumps(states)}.map(told)")
    z = torch.linspace(-9, 9, 180_001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    for (a, b), noise, told in zip(lines, noises, found, strict=True):
        b = b / math.sqrt(1 + noise**2)
        exact = log_knowledge_gradient(a, b).exp()
        assert abs(told["kg"] - exact) < 1e-12
        keep = torch.arange(6) != 4
        assert abs(told["without"] - log_knowledge_gradient(a[keep], b[keep]).exp()) < 1e-12
        means = a + z.unsqueeze(-1) * b
        best = means[:, 4] > means[:, keep].amax(-1)
        assert abs(told["chance"] - torch.trapezoid(best * weight, z)) < 2e-4
    assert found[1]["kg"] == 0
    tails = compute("knowledge_gradient", "[-9, -1, 0, 0.5, 2.99, 3.01, 7, 30].map(beyond)")
    places = torch.tensor([-9, -1, 0, 0.5, 2.99, 3.01, 7, 30], dtype=torch.float64)
    wanted = 0.5 * torch.erfc(places * math.sqrt(0.5))
    assert worst((np.asarray(tails) / wanted.numpy()).tolist(), [1.0] * 8) < 1e-11


# ------------------------------------------------------------------ how a page behaves


def write(folder: Path, name: str, *, framed: bool, state: dict[str, Any] | None = None) -> Path:
    document = explorables.page(name, state)
    file = folder / f"{name}-{framed}.html"
    around = '<!doctype html><meta charset="utf-8"><body style="margin:0">'
    file.write_text(around + explorables.frame(document) if framed else document, encoding="utf-8")
    return file


SAYS = "document.getElementById('says').textContent"
CENTER = """(() => { const box = document.querySelector('%s').getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2]; })()"""


@needs_browser
@pytest.mark.parametrize("framed", [False, True], ids=["as a file", "in a frame"])
@pytest.mark.parametrize("name", NAMES)
def test_a_slider_moves_by_keyboard_and_the_words_follow(
    browser: chromium.Chromium, tmp_path: Path, name: str, framed: bool
) -> None:
    browser.look(700, 1400)
    browser.open(write(tmp_path, name, framed=framed))
    before = browser.run(SAYS, frame=framed)
    slider = "document.querySelector('input[type=range]')"
    if framed:
        browser.run("document.querySelector('iframe').focus()")
    browser.run(f"{slider}.focus()", frame=framed)
    browser.wait(f"document.hasFocus() && document.activeElement === {slider}", frame=framed)
    browser.press("Home")
    browser.wait(f"+{slider}.value === +{slider}.min", frame=framed)
    first = browser.run(SAYS, frame=framed)
    browser.press("ArrowRight", times=3)
    browser.wait(f"{slider}.value - {slider}.min > 2.5 * {slider}.step", frame=framed)
    assert before and first and browser.run(SAYS, frame=framed) not in ("", first)
    told = "[...document.querySelectorAll('input')].map(i => i.getAttribute('aria-valuetext'))"
    assert all(browser.run(f"{told}.filter((_, k, all) => all[k] !== null)", frame=framed))


@needs_browser
@pytest.mark.parametrize("name", NAMES)
def test_a_frame_is_as_high_as_its_page(
    browser: chromium.Chromium, tmp_path: Path, name: str
) -> None:
    browser.open(write(tmp_path, name, framed=True))
    for width in (344, 500, 618, 640, 760, 1000):
        browser.look(width, 900)
        browser.wait(f"innerWidth === {min(width, 984) - 2}", frame=True)  # without its border
        browser.draw(frame=True)
        high, shown, across, wide = browser.run(
            "[document.documentElement.scrollHeight, innerHeight,"
            " document.documentElement.scrollWidth, innerWidth]", frame=True,
        )  # fmt: skip
        end = browser.run("document.querySelector('#says').getBoundingClientRect().bottom",
                          frame=True)  # fmt: skip
        assert high <= shown and across <= wide, f"{name} does not fit at {width} px"
        assert shown - end < 160, f"{name} leaves {shown - end} px empty at {width} px"


@needs_browser
@pytest.mark.parametrize("name", NAMES)
def test_dark_pages_are_dark_and_text_is_readable_on_both(
    browser: chromium.Chromium, tmp_path: Path, name: str
) -> None:
    colors = """['body', '#says', 'figcaption', 'svg text', '.choice label:has(:checked)'].map(q =>
        document.querySelector(q)).filter(node => node).map(node => { let ground = node;
        const see = n => getComputedStyle(n).backgroundColor;
        while (see(ground) === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
        const style = getComputedStyle(node);
        return [node instanceof SVGElement ? style.fill : style.color, see(ground)]; })"""
    grounds = []
    for dark in (False, True):
        browser.look(700, dark=dark)
        browser.open(write(tmp_path, name, framed=False))
        pairs = browser.run(colors)
        for ink, ground in pairs:
            assert contrast(ink, ground) >= 4.5, (ink, ground)
        grounds.append(luminance(pairs[0][1]))
    browser.look(700)
    assert grounds[0] > 0.9 and grounds[1] < 0.05


def luminance(color: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = [int(c) / 255 for c in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@needs_browser
@pytest.mark.parametrize(
    ("name", "handle"),
    [
        ("cobweb", "#start"),
        ("stability_triangle", "#point"),
        ("conditioning", "#start"),
        ("vjp_ellipse", "#hand"),
        ("vjp_ellipse", "#tip"),
        ("knowledge_gradient", "#height"),
        ("knowledge_gradient", "#slope"),
    ],
)
def test_a_handle_follows_mouse_and_arrow_keys(
    browser: chromium.Chromium, tmp_path: Path, name: str, handle: str
) -> None:
    browser.look(900, 1200)
    browser.open(write(tmp_path, name, framed=False))
    where = f"document.querySelector('{handle}').getAttribute('aria-valuetext')"
    told = [browser.run(where)]
    x, y = browser.run(CENTER % f"{handle} .ring")
    browser.drag((x, y), (x - 40, y + 25))
    told.append(browser.run(where))
    browser.run(f"document.querySelector('{handle}').focus()")
    for key in ("ArrowRight", "ArrowUp"):
        browser.press(key)
        told.append(browser.run(where))
    if name in ("vjp_ellipse", "conditioning"):  # on a circle, right and up are opposite turns
        assert told[3] == told[1]
        told.pop()
    assert len(set(told)) == len(told), told


@needs_browser
def test_a_finger_drags_a_handle_down_to_the_end(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    told = "document.querySelector('#point').getAttribute('aria-valuetext')"
    ends = []
    for by_touch in (False, True):
        browser.look(900, 1200)
        browser.open(write(tmp_path, "stability_triangle", framed=False))
        x, y = browser.run(CENTER % "#point .ring")
        if by_touch:
            browser.touch((x, y), (x, y + 40), (x, y + 90))
        else:
            browser.drag((x, y), (x, y + 90))
        browser.draw()
        ends.append(browser.run(told))
    assert ends[0] == ends[1] and ends[0] != "0.50, 0.80"


@needs_browser
def test_the_stepper_goes_through_all_steps_and_back(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    browser.look(700, 900)
    browser.open(write(tmp_path, "graph_stepper", framed=False))
    said = []
    for _ in range(12):
        browser.run("document.getElementById('next').click()")
        said.append(browser.run(SAYS))
    assert len(set(said)) == 12
    assert "It held 9 already: 9 + 6 = 15" in said[8]
    assert said[-1].endswith("Every adjoint is complete: dz/dx = 36, dz/dy = 45.")
    assert browser.run("document.getElementById('next').disabled")
    browser.run("document.getElementById('back').click()")
    assert browser.run(SAYS) == said[-2]
    browser.run("document.getElementById('reset').click()")
    assert browser.run(SAYS).startswith("Nothing has been computed yet")


@needs_browser
def test_nothing_moves_for_those_who_like_no_motion(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    moving = []
    for still in (True, False):
        browser.look(700, still=still)
        browser.open(write(tmp_path, "graph_stepper", framed=False))
        browser.run("go(6), document.getElementById('next').click()")
        moving.append(browser.run("document.getAnimations().length"))
    browser.look(700)
    assert moving == [0, 1]


@needs_browser
def test_a_hostile_name_is_shown_as_text(browser: chromium.Chromium, tmp_path: Path) -> None:
    browser.open(write(tmp_path, "graph_stepper", framed=True, state=hostile_graph()))
    browser.run("go(1)", frame=True)
    assert browser.run("typeof window.broken", frame=True) == "undefined"
    assert HOSTILE in browser.run(SAYS, frame=True)


@needs_browser
def test_a_frame_cannot_reach_the_notebook_around_it(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    browser.open(write(tmp_path, "cobweb", framed=True))
    reach = "(() => { try { return parent.document.title; } catch (e) { return e.name; } })()"
    assert browser.run(reach, frame=True) == "SecurityError"


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_reader_can_use_a_page(
    browser: chromium.Chromium, tmp_path: Path, name: str, dark: bool
) -> None:
    browser.look(900, 1200, dark=dark, still=True)
    browser.open(write(tmp_path, name, framed=False))
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.draw()
    assert browser.barriers() == []


@needs_browser
def test_a_page_that_bars_readers_would_be_caught(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    file = tmp_path / "bars.html"
    file.write_text(
        '<!doctype html><html lang="en"><title>t</title><main><h1>h</h1><input type="range">'
        '<p style="color: #bbb; background: #fff">pale</p></main>'
    )
    browser.open(file)
    found = [line.split()[0] for line in browser.barriers()]
    assert sorted(found) == ["color-contrast", "label"]


@needs_browser
def test_a_page_that_asks_the_network_would_be_caught(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    file = tmp_path / "asks.html"
    file.write_text('<!doctype html><img src="https://example.org/a.png"><script>x.y</script>')
    browser.open(file)
    browser.wait("document.images[0].complete")
    assert browser.requests == ["https://example.org/a.png"]
    assert any("x is not defined" in error for error in browser.errors)
    browser.forget()
