"""What a study refuses before any work, and what it needs of memory."""

import pytest
from study_cases import fragile

from bolearn.errors import (
    BolearnError,
)
from bolearn.problems import Branin
from bolearn.strategies import NelderMead, random
from bolearn.studies.loop import study


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_init": 0}, "n_init: expected an integer >= 1"),
        ({"n_iter": 0}, "n_iter"),
        ({"q": 0}, "q: expected"),
        ({"q": 1.5}, "q: expected"),
        ({"replicates": 0}, "replicates"),
        ({"seed": -1}, "seed"),
        ({"seed": [1, 2, 3]}, "seed: expected 2 seeds"),
        ({"seed": [11, 11]}, r"different one for each replicate, got \[11\] more than once"),
        ({"strategies": {}}, "without entries"),
        ({"strategies": random}, "expected a dictionary"),
        ({"strategies": {"a": 3}}, "expected names and functions"),
        ({"strategies": {"a": NelderMead}}, "give an instance"),
        ({"problem": fragile}, r"Problem\(f, bounds\)"),
    ],
)
def test_bad_settings_say_what_to_do(change: dict[str, object], words: str) -> None:
    good: dict[str, object] = {
        "problem": Branin(),
        "strategies": {"random": random},
        "n_init": 2,
        "n_iter": 1,
        "replicates": 2,
    }
    with pytest.raises(BolearnError, match=words):
        study(**(good | change))  # type: ignore[arg-type]


def test_memory_is_that_of_the_record() -> None:
    result = study(Branin(), {"random": random}, n_init=2, n_iter=3, replicates=100)
    assert result.X["random"].untyped_storage().nbytes() == 100 * 5 * 2 * 8
