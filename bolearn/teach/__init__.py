"""The teaching kit: predictions, claims, exercises with instant checks, figures with words.

    from bolearn import teach

    teach.setup("p1.t1")                                starts a notebook
    teach.predict(id, question, options, guess=None)    commits to a guess
    teach.reveal(id, answer, because=...)               shows it beside the result
    teach.claim(text, condition)                        asserts, prints, records
    teach.undecided(text)                               records what stays open
    teach.check(id, fn), teach.hint(id, level)          exercises
    teach.yours(id, fn)                                 fn if it passed, else the model answer
    teach.show(fig, alt)                                a figure with its alternative text
    teach.explorable(name, state, still=fig, alt=...)   the same, and a page to play with
    teach.goldmine.replay(text)                         a session of the page goldmine in Python
    teach.claims_table()                                what the notebook proved

`docs/writing_exercises.md` shows how to write an exercise of one's own in one file.
"""

from bolearn.teach import goldmine
from bolearn.teach.engine import CheckResult, check, evaluate, hint, selftest
from bolearn.teach.errors import ClaimError, ExerciseError, Violation
from bolearn.teach.exercise import (
    Case,
    Exercise,
    Fn,
    Rng,
    close,
    has_shape,
    random_state_untouched,
    require,
)
from bolearn.teach.exercises import load
from bolearn.teach.explorables import explorable
from bolearn.teach.figures import show
from bolearn.teach.session import (
    claim,
    claims_table,
    predict,
    reveal,
    setup,
    undecided,
)
from bolearn.teach.yours import yours

__all__ = [
    "setup",
    "predict",
    "reveal",
    "claim",
    "undecided",
    "claims_table",
    "check",
    "hint",
    "yours",
    "show",
    "explorable",
    "goldmine",
    "Exercise",
    "Case",
    "Rng",
    "Fn",
    "require",
    "close",
    "has_shape",
    "random_state_untouched",
    "load",
    "evaluate",
    "selftest",
    "CheckResult",
    "ClaimError",
    "ExerciseError",
    "Violation",
]
