"""What a learner wrote is used in the rest of the notebook, once it has passed its check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bolearn.teach import exercises, session


def yours(exercise: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """The learner's function if its last check passed, else the exercise's model answer.

    So a notebook runs to its end whether or not its exercises were attempted, and what was built
    in it is what it computes with. Says so in one line where the model answer stands in.

    Args:
        exercise: an id such as "p4.t3.e3".
        fn: the learner's function, as it was handed to `teach.check`.

    Raises:
        ExerciseError: there is no such exercise.

    Example:
        >>> yours("p4.t3.e2", lambda *args: None).__name__
        p4.t3.e2: the model answer stands in until yours has passed its check
        'simple_regret'
    """
    found = exercises.find(exercise)
    if session.passed(found.id):
        return fn
    print(f"{found.id}: the model answer stands in until yours has passed its check")
    return found.model_answer
