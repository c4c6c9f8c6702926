"""Tables and files of a study."""

import copy
import json
import math
import pickle
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from study_cases import BASELINES, SQUARE, fragile

from bolearn.errors import (
    DataError,
    StorageError,
)
from bolearn.problems import Branin, Hartmann6, Problem
from bolearn.strategies import sobol
from bolearn.studies.loop import study
from bolearn.studies.results import StudyResult


@pytest.mark.usefixtures("unchecked")
def test_bad_questions_to_a_result_say_what_to_do(noisy: StudyResult) -> None:
    with pytest.raises(DataError, match=r"expected one of the strategies \['random'"):
        noisy.regret("LogEI")
    with pytest.raises(DataError, match="13 evaluations, got at=14"):
        noisy.table(at=14)
    with pytest.raises(DataError, match="at: expected an integer >= 1"):
        noisy.compare("random", "Sobol", at=0)
    with pytest.raises(DataError, match="simple"):
        noisy.regret("random", kind="cumulative")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="strategies"):
        noisy.table(reference="nothing")


def test_the_table_says_what_the_regrets_say(noisy: StudyResult) -> None:
    table = noisy.table(reference="Sobol", at=10)
    assert list(table.index) == list(noisy.names)
    final = noisy.regret("simplex")[:, 9]
    np.testing.assert_allclose(
        table.loc["simplex", ["q10", "q25", "median", "q75", "q90"]].to_numpy(dtype=float),
        np.quantile(final.numpy(), [0.1, 0.25, 0.5, 0.75, 0.9]),
    )
    paired = final.log10() - noisy.regret("Sobol")[:, 9].log10()
    np.testing.assert_allclose(table.loc["simplex", "log10 difference"], np.median(paired.numpy()))
    assert table.loc["simplex", "wins"] == (paired < 0).sum()
    assert table.loc["Sobol", "verdict"] == "reference"
    assert noisy.compare("simplex", "Sobol", at=10).verdict == table.loc["simplex", "verdict"]


@pytest.mark.parametrize("optimum", [None, 0.0])
def test_the_long_table_has_a_row_for_each_evaluation(optimum: float | None) -> None:
    problem = Problem(fragile, SQUARE, optimal_value=optimum, noise_std=0.1)
    result = study(problem, BASELINES, 6, 5, replicates=4)
    table = result.long_table()
    assert len(table) == 3 * 4 * 11 and ("regret" in table) == (optimum is not None)
    for row in table.sample(30, random_state=0).itertuples():
        i, j = row.replicate, row.evaluation - 1
        assert [row.x1, row.x2] == result.X[row.strategy][i, j].tolist()
        assert row.observed == result.observed[row.strategy][i, j].item()
        for column, truth in (
            (row.y1, result.Y[row.strategy][i, j, 0]),
            (row.value, result.values[row.strategy][i, j]),
        ):
            assert column == truth.item() or (not row.observed and math.isnan(column))
        assert row.best == result.best(row.strategy)[i, j].item()
    if optimum is not None:
        means = table.groupby(["strategy", "evaluation"])["regret"].mean()
        torch.testing.assert_close(
            torch.tensor(means["Sobol"].to_numpy()), result.regret("Sobol").mean(0)
        )


def test_json_reads_back_exactly(tmp_path: Path) -> None:
    problem = Problem(fragile, SQUARE, optimal_value=0.0, noise_std=0.1)
    result = study(problem, BASELINES, 6, 5, replicates=4)
    path = tmp_path / "study.json"
    result.to_json(path)
    back = StudyResult.from_json(path)
    for key in ("X", "Y", "observed", "values", "recommended", "recommended_values"):
        ours, theirs = getattr(result, key), getattr(back, key)
        assert list(ours) == list(theirs)
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0, equal_nan=True)
            assert ours[name].dtype == theirs[name].dtype
    same = ("problem", "output", "optimal_value", "noise_std", "n_init", "n_iter", "q", "seeds")
    same += ("seconds", "batched", "notes", "failures", "versions", "names")
    for key in same:
        assert getattr(result, key) == getattr(back, key), key
    assert torch.equal(result.bounds, back.bounds)
    assert result.versions["torch"] == metadata.version("torch")
    assert json.loads(path.read_text())["format"] == "bolearn.study/2"
    columns = [c for c in result.table().columns if c != "seconds"]
    assert result.table()[columns].equals(back.table()[columns])


def test_json_without_points_keeps_values_and_is_smaller(tmp_path: Path) -> None:
    result = study(Hartmann6(), BASELINES, 6, 5, replicates=4)
    result.to_json(tmp_path / "all.json")
    result.to_json(tmp_path / "small.json", points=False)
    sizes = [(tmp_path / name).stat().st_size for name in ("all.json", "small.json")]
    assert sizes[1] < sizes[0] / 3
    back = StudyResult.from_json(tmp_path / "small.json")
    assert torch.equal(back.regret("Sobol"), result.regret("Sobol"))
    assert back.X["Sobol"].shape == result.X["Sobol"].shape and back.X["Sobol"].isnan().all()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "something else"}'])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(StorageError, match="expected"):
        StudyResult.from_json(path)


def test_files_that_lack_something_are_refused(tmp_path: Path, noisy: StudyResult) -> None:
    path = tmp_path / "study.json"
    noisy.to_json(path)
    whole = json.loads(path.read_text())

    def without(key: str) -> dict[str, Any]:
        content = json.loads(path.read_text())
        content["strategies"]["Sobol"].pop(key)
        return content

    ragged = json.loads(path.read_text())
    ragged["strategies"]["Sobol"]["Y"][0].pop()
    short = json.loads(path.read_text())
    for rows in (short["strategies"]["Sobol"][key] for key in ("X", "Y", "observed", "values")):
        rows.pop()
    broken = [without(key) for key in ("seconds", "values", "Y", "observed")]
    broken += [ragged, short, {"format": whole["format"]}, whole | {"strategies": []}]
    for i, content in enumerate(broken):
        other = tmp_path / f"{i}.json"
        other.write_text(json.dumps(content))
        with pytest.raises(StorageError, match="expected a study written by"):
            StudyResult.from_json(other)
    with pytest.raises(StorageError, match="folder that exists"):
        noisy.to_json(tmp_path / "missing" / "study.json")


def test_any_bit_of_a_stored_result_that_changed_is_noticed(tmp_path: Path) -> None:
    result = study(Branin(), {"random": sobol}, 2, 1, replicates=2)
    path = tmp_path / "study.json"
    result.to_json(path)
    whole = path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]
    for at in range(0, len(whole), 3):
        spoilt = bytearray(whole)
        spoilt[at] ^= 1 << (at % 8)
        path.write_bytes(spoilt)
        with pytest.raises(StorageError, match="expected"):
            StudyResult.from_json(path)
    path.write_bytes(whole)
    assert torch.equal(StudyResult.from_json(path).Y["random"], result.Y["random"])


def test_results_of_the_first_edition_have_no_checksum_and_are_read(tmp_path: Path) -> None:
    result = study(Branin(), {"random": sobol}, 2, 1, replicates=2)
    path = tmp_path / "study.json"
    result.to_json(path)
    content = json.loads(path.read_text()) | {"format": "bolearn.study/1"}
    content.pop("checksum")
    path.write_text(json.dumps(content))
    assert torch.equal(StudyResult.from_json(path).Y["random"], result.Y["random"])


def test_results_and_comparisons_can_be_pickled_and_copied(noisy: StudyResult) -> None:
    for twin in (pickle.loads(pickle.dumps(noisy)), copy.deepcopy(noisy)):
        assert torch.equal(twin.regret("Sobol"), noisy.regret("Sobol"))
        one, other = (r.compare("Sobol", "random") for r in (twin, noisy))
        assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(other)
