"""Figures to play with: a still picture first, and below it a small page that computes live.

    teach.explorable("cobweb", {"eta": 1.8}, still=figure, alt="...")

A page is one HTML file with its style and script inside: no network, no kernel, no library. It
stands in a sandboxed `<iframe srcdoc>`, so it works in JupyterLab, in VS Code, in a static web
page and without a connection, and cannot touch the notebook around it. Where a site strips frames
(GitHub does), the still picture remains. `docs/explorables.md` shows how a page is made.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bolearn.errors import DataError
from bolearn.teach.display import publish, shell
from bolearn.teach.figures import show

FOLDER = Path(__file__).parent
PAGES = {
    "cobweb": "cobweb.html",
    "stability_triangle": "stability_triangle.html",
    "conditioning": "conditioning.html",
    "graph_stepper": "graph_stepper.html",
    "vjp_ellipse": "vjp_ellipse.html",
    "memory_layout": "memory_layout.html",
    "goldmine": "goldmine.html",
    "knowledge_gradient": "knowledge_gradient.html",
}
SHARED = ("shared.css", "shared.js")
GOLDMINE = {  # what the texts in the state of this page may be
    "mine": ("gold", "two_scale", "needle", "step", "draw", "riddle"),
    "goal": ("learn", "find", "profit"),
    "policy": ("me", "random", "variance", "mean", "pi", "ei", "ucb", "ts"),
    "kernel": ("rbf", "matern52"),
    "incumbent": ("believed", "seen"),
}


def explorable(name: str, state: Mapping[str, Any], *, still: Any, alt: str) -> None:
    """Show a figure, and below it a page in which the reader can change what it shows.

    The still figure comes first, as `teach.show` shows it: it must make the point alone. In plain
    Python only its words are printed.

    Args:
        name: of a page: cobweb, stability_triangle, conditioning, graph_stepper, vjp_ellipse,
            memory_layout, goldmine or knowledge_gradient.
        state: where the page starts; what is left out starts as the page thinks best. Numbers
            are rounded to six digits, so that the output does not depend on the machine.
        still: a matplotlib figure of the same.
        alt: one sentence that says what the still figure shows.

    Raises:
        DataError: an unknown page, a state that the page does not understand, or what
            `teach.show` refuses.
    """
    document = page(name, state)
    show(still, alt)
    if shell() is None:
        return
    title, what = _meta(document, "title"), _meta(document, "description")
    publish(
        {
            "text/plain": f"interactive figure, {title}: {what}",
            "text/html": frame(document),
        }
    )


def page(name: str, state: Mapping[str, Any] | None = None) -> str:
    """A page as one HTML text, ready to be written to a file or put into a frame.

    Args:
        name: of the page.
        state: where it starts; default: its own start.

    Raises:
        DataError: an unknown page, or a state that the page does not understand.

    Example:
        >>> text = page("cobweb", {"eta": 1.8})
        >>> '"eta":1.8' in text and "</html>" in text
        True
    """
    if name not in PAGES:
        raise DataError(f"expected a page among {', '.join(PAGES)}; got {name!r}")
    text = (FOLDER / PAGES[name]).read_text(encoding="utf-8")
    for shared in SHARED:
        text = text.replace(f"/* {shared} */", (FOLDER / shared).read_text(encoding="utf-8"))
    before, default, after = _split_at_state(text)
    start = _merge(name, json.loads(default), state or {})
    # "<" would end the script element early if a text contained "</script>".
    data = json.dumps(start, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return before + data.replace("<", "\\u003c") + after


def memory_state(base: Tensor, derived: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state of the page `memory_layout`: what shape, strides and offset say of each tensor.

    Args:
        base: a tensor whose storage has at most 16 places.
        derived: tensors of one or two axes by their label.

    Example:
        >>> import torch
        >>> x = torch.arange(6.0).reshape(2, 3)
        >>> memory_state(x, {"x.T": x.T})["operations"][0]["strides"]
        [1, 3]
    """
    operations = []
    for label, x in derived.items():
        shared = x.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()
        operations.append(
            {
                "label": label,
                "shape": list(x.shape),
                "strides": list(x.stride()),
                "offset": x.storage_offset(),
                "own": None if shared else _storage(x),
            }
        )
    return {"storage": _storage(base), "operations": operations}


def _storage(x: Tensor) -> list[Any]:
    """All numbers of a tensor's storage, in the order in which they lie there."""
    places = x.untyped_storage().nbytes() // x.element_size()
    values: list[Any] = x.as_strided((places,), (1,), 0).tolist()
    return values


def frame(document: str) -> str:
    """The page as a sandboxed frame that is as high as its content, at any width.

    The page states its height as a CSS length in which `cqi` is a per cent of the frame's width.
    What stands inside the frame is read only where frames are stripped.
    """
    title, height = _meta(document, "title"), _meta(document, "height")
    srcdoc = document
    for character, entity in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        srcdoc = srcdoc.replace(character, entity)
    return (
        '<div style="container-type:inline-size;max-width:984px">'
        f'<iframe title="{html.escape(title)}" sandbox="allow-scripts" loading="lazy" '
        f'style="box-sizing:border-box;width:100%;height:calc({html.escape(height)} + 2px);'
        f'border:1px solid #8888;border-radius:6px" srcdoc="{srcdoc}">'
        "An interactive figure stands here when you run this cell.</iframe></div>"
    )


def _split_at_state(text: str) -> tuple[str, str, str]:
    """What stands before, in and after the page's own start."""
    match = re.search(r'(?<=id="state">).*?(?=</script>)', text, re.DOTALL)
    assert match is not None, "a page holds its own start in <script id=state>"
    return text[: match.start()], match[0], text[match.end() :]


def _meta(document: str, name: str) -> str:
    """The page's title, or what a `<meta>` of this name says."""
    form = r"<title>(.*?)</title>" if name == "title" else rf'<meta name="{name}" content="(.*?)">'
    match = re.search(form, document)
    assert match is not None, f"a page has its {name}"
    return html.unescape(match[1])


def _merge(name: str, default: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """The page's start with what the caller changes, checked."""
    unknown = [str(key) for key in state if key not in default]
    if unknown:
        raise DataError(
            f"{name}: expected a state with the keys {', '.join(default)}; "
            f"got also {', '.join(unknown)}"
        )
    merged = default | {key: _plain(name, key, value) for key, value in state.items()}
    for key, value in merged.items():
        if type(value) is not type(default[key]) and not (_number(value) and _number(default[key])):
            kind = "a number" if _number(default[key]) else f"a {type(default[key]).__name__}"
            raise DataError(f"{name}: expected {key} to be {kind}, got {value!r}")
    CHECKS[name](merged)
    return merged


def _plain(name: str, key: str, value: Any) -> Any:
    """Tensors, arrays and tuples as lists; numbers with six digits."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(f"{name}: expected finite numbers in {key}, got {value}")
        return float(f"{value:.6g}")
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {str(inner): _plain(name, key, entry) for inner, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(name, key, entry) for entry in value]
    raise DataError(
        f"{name}: expected numbers, texts, lists and dicts in {key}, got {type(value).__name__}"
    )


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise DataError(message)


def _check_cobweb(s: Mapping[str, Any]) -> None:
    kinds = ("quadratic", "double_well")
    _expect(
        s["function"] in kinds,
        f"cobweb: expected function to be one of {', '.join(kinds)}; got {s['function']!r}",
    )
    _expect(s["a"] > 0, f"cobweb: expected a curvature a > 0, got {s['a']}")
    _expect(s["eta"] > 0, f"cobweb: expected a step size eta > 0, got {s['eta']}")
    _expect(abs(s["x0"]) <= 2, f"cobweb: expected a start x0 in [-2, 2], got {s['x0']}")


def _check_stability_triangle(s: Mapping[str, Any]) -> None:
    h, beta = s["eta_lambda"], s["beta"]
    _expect(
        0.02 <= h <= 4.2 and abs(beta) <= 1.05,
        "stability_triangle: expected eta_lambda in [0.02, 4.2] and beta in [-1.05, 1.05], "
        f"which is what the picture shows; got {h} and {beta}",
    )


def _check_conditioning(s: Mapping[str, Any]) -> None:
    _expect(
        1 <= s["kappa"] <= 1000,
        f"conditioning: expected kappa in [1, 1000], got {s['kappa']}",
    )
    _expect(
        0.05 <= s["eta_factor"] <= 2.05,
        "conditioning: expected eta_factor, a multiple of 2 / (L + mu), in [0.05, 2.05]; "
        f"got {s['eta_factor']}",
    )


def _check_graph_stepper(s: Mapping[str, Any]) -> None:
    known: list[str] = []
    for node in s["nodes"]:
        _expect_keys("graph_stepper: a node", node, {"name": str, "formula": str, "value": float})
        _expect(node["name"] not in known, f"graph_stepper: two nodes are called {node['name']!r}")
        known.append(node["name"])
    _expect(len(known) > 0, "graph_stepper: expected at least one node, got none")
    for edge in s["edges"]:
        _expect_keys("graph_stepper: an edge", edge, {"from": str, "to": str, "slope": float})
        ends = (edge["from"], edge["to"])
        _expect(
            all(end in known for end in ends) and known.index(ends[0]) < known.index(ends[1]),
            "graph_stepper: expected edges from a node to a later one in the list "
            f"{', '.join(known)}; got {ends[0]} -> {ends[1]}",
        )


def _check_vjp_ellipse(s: Mapping[str, Any]) -> None:
    for key in ("theta", "lengths"):
        _expect(
            len(s[key]) == 2 and all(_number(value) for value in s[key]),
            f"vjp_ellipse: expected two numbers as {key}, got {s[key]!r}",
        )
    _expect(min(s["lengths"]) > 0, f"vjp_ellipse: expected lengths > 0, got {s['lengths']}")
    _expect(
        max(abs(s["theta"][1]), abs(s["v"])) <= math.pi,
        "vjp_ellipse: expected the elbow's angle and that of v in [-pi, pi], "
        f"got {s['theta'][1]} and {s['v']}",
    )


def _check_memory_layout(s: Mapping[str, Any]) -> None:
    _expect(
        0 < len(s["storage"]) <= 16 and all(_number(value) for value in s["storage"]),
        f"memory_layout: expected a storage of 1 to 16 numbers, got {s['storage']!r}",
    )
    _expect(len(s["operations"]) > 0, "memory_layout: expected at least one operation, got none")
    for op in s["operations"]:
        kinds: dict[str, Any] = {"label": str, "shape": list, "strides": list, "offset": int}
        _expect_keys("memory_layout: an operation", op, kinds | {"own": (list, type(None))})
        label, shape, strides = op["label"], op["shape"], op["strides"]
        _expect(
            len(shape) in (1, 2) and len(strides) == len(shape) and min(shape) > 0,
            f"memory_layout: {label}: expected one or two axes, each with a size > 0 and a "
            f"stride; got shape {shape} and strides {strides}",
        )
        places = len(s["storage"] if op["own"] is None else op["own"])
        steps = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
        first = op["offset"] + sum(min(step, 0) for step in steps)
        last = op["offset"] + sum(max(step, 0) for step in steps)
        _expect(
            first >= 0 and last < places,
            f"memory_layout: {label}: expected places from 0 to {places - 1}, "
            f"got {first} to {last}",
        )


def _check_goldmine(s: Mapping[str, Any]) -> None:
    for key, known in GOLDMINE.items():
        _expect(
            s[key] in known,
            f"goldmine: expected {key} to be one of {', '.join(known)}; got {s[key]!r}",
        )
    _expect(
        isinstance(s["seed"], int) and 0 <= s["seed"] < 2**31,
        f"goldmine: expected a whole number below 2**31 as seed, got {s['seed']!r}",
    )
    _expect(
        len(s["drills"]) <= 40 and all(_number(x) for x in s["drills"]),
        f"goldmine: expected at most 40 places as drills, got {s['drills']!r}",
    )
    limits = {"xi_pi": 3, "xi_ei": 3, "beta": 16, "cost": 2}
    for key, most in limits.items():
        _expect(0 <= s[key] <= most, f"goldmine: expected {key} in [0, {most}], got {s[key]}")
    for key, value in s["model"].items():
        _expect(
            key in ("lengthscale", "variance", "noise_var", "mean") and _number(value),
            "goldmine: expected a model with numbers as lengthscale, variance, noise_var or mean, "
            f"got {key!r}: {value!r}",
        )
        _expect(
            key == "mean" or value > 0,
            f"goldmine: expected a positive {key} in model, got {value}",
        )


def _check_knowledge_gradient(s: Mapping[str, Any]) -> None:
    heights, slopes, moved = s["heights"], s["slopes"], s["moved"]
    _expect(
        2 <= len(heights) <= 12
        and len(slopes) == len(heights)
        and all(_number(v) and abs(v) <= 2.5 for v in (*heights, *slopes)),
        "knowledge_gradient: expected 2 to 12 heights and as many slopes, numbers from -2.5 to "
        f"2.5, got {heights!r} and {slopes!r}",
    )
    _expect(
        isinstance(moved, int) and 0 <= moved < len(heights),
        f"knowledge_gradient: expected moved to be a line from 0 to {len(heights) - 1}, got "
        f"{moved!r}",
    )
    _expect(s["noise"] >= 0, f"knowledge_gradient: expected noise >= 0, got {s['noise']}")


def _expect_keys(what: str, entry: object, kinds: Mapping[str, Any]) -> None:
    """One entry of a list: a dict with exactly these keys; float stands for any number."""
    right = isinstance(entry, Mapping) and set(entry) == set(kinds)
    right = right and all(
        _number(entry[key]) if kind is float else isinstance(entry[key], kind)  # type: ignore[index]
        for key, kind in kinds.items()
    )
    listed = ", ".join(kinds)
    _expect(right, f"{what}: expected a dict with {listed} of the right kinds, got {entry!r}")


CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "cobweb": _check_cobweb,
    "stability_triangle": _check_stability_triangle,
    "conditioning": _check_conditioning,
    "graph_stepper": _check_graph_stepper,
    "vjp_ellipse": _check_vjp_ellipse,
    "memory_layout": _check_memory_layout,
    "goldmine": _check_goldmine,
    "knowledge_gradient": _check_knowledge_gradient,
}
