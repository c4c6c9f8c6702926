"""What several tests of studies are given."""

from collections.abc import Iterator

import pytest
from jaxtyping import config
from study_cases import BASELINES

from bolearn.problems import Branin
from bolearn.studies.loop import study
from bolearn.studies.results import StudyResult


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users run it: without the shape checks of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def noisy() -> StudyResult:
    return study(Branin(noise_std=2.0), BASELINES, n_init=5, n_iter=8, replicates=6, seed=3)
