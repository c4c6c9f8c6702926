"""A course of one tutorial in a temporary folder, with a package and a teaching kit to match."""

from __future__ import annotations

from pathlib import Path

from course.project import Project, Tutorial

KIT = """
counts = {"claims": 0, "undecided": 0, "exercises": {"passed": 0, "failed": 0, "not attempted": 0}}


def setup(id):
    print("tutorial", id)


def claim(text, condition, kind="identity"):
    assert condition, text
    counts["claims"] += 1


def check(id, function):
    try:
        verdict = "passed" if function(3) == 9 else "failed"
    except NotImplementedError:
        verdict = "not attempted"
    counts["exercises"][verdict] += 1
    print(id, verdict)


def summary():
    return counts
"""

FILES = {
    "bolearn/__init__.py": "from bolearn import teach\nfrom bolearn.doubling import double\n"
    "from bolearn.unused import halve\n",
    "bolearn/doubling.py": "from bolearn.products import product\n\n\n"
    "def double(x):\n    return product(2, x)\n",
    "bolearn/products.py": '"""Products."""\n\n\ndef product(a, b):\n    return a * b\n',
    "bolearn/unused.py": "def halve(x):\n    return x / 2\n",
    "bolearn/teach/__init__.py": "from bolearn.teach.session import check, claim, setup\n",
    "bolearn/teach/session.py": KIT,
    "bolearn/teach/exercises/__init__.py": "",
    "bolearn/teach/exercises/part_1_tutorial_01.py": '''
from bolearn.teach.exercise import Exercise

e1 = Exercise(id="p1.t1.e1", title="Squares")


@e1.answer
def square(x: int) -> int:
    """The square of a number."""
    # by its definition
    return x * x
''',
    "bolearn/teach/exercise.py": """
class Exercise:
    def __init__(self, id, title):
        self.id = id

    def answer(self, function):
        return function
""",
    "sources/part_1/tutorial_01_squares.py": """\
# %% [markdown]
# # How large is a square?
#
# A formula:
#
# $$ f(x) = x^2 $$

# %%
import bolearn as bl
from bolearn import teach

teach.setup("p1.t1")

# %% [markdown] tags=["worked-only"]
# A remark for those who look the answer up.

# %%
# exercise: p1.t1.e1

# %% [markdown]
# A sentence between two cells.

# %% tags=["fresh-only"]
print("try it")



# %%
teach.claim("doubling doubles", bl.double(2) == 4)
bl.double(4)
""",
}


def make(root: Path) -> tuple[Project, Tutorial]:
    """Writes the files; returns the project and its tutorial."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    project = Project(root.resolve())
    (tutorial,) = project.tutorials()
    return project, tutorial


def replace(path: Path, old: str, new: str) -> None:
    """Replaces a text that occurs in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
