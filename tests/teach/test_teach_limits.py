"""What an answer may not cost: time without end, the kernel, or the state of the process."""

import contextlib
import faulthandler
import itertools
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from os import _exit as leave

import numpy as np
import pytest
import torch

from bolearn import teach
from bolearn.teach import Case, Exercise, Violation, apart, close, engine, random_state_untouched
from bolearn.teach.trial import plain

needs_fork = pytest.mark.skipif(not apart.possible(), reason="no process can be copied here")


def make(call_seconds=0.4, check_seconds=30.0) -> Exercise:
    """Double a number."""
    e = Exercise(
        id="limits.e1",
        title="double",
        hints=("a", "b", "c"),
        call_seconds=call_seconds,
        check_seconds=check_seconds,
    )

    @e.answer
    def double(x: float) -> float:
        """Twice a number."""
        return 2 * x

    @e.cases
    def cases(rng):
        for k in range(20):
            yield Case(float(k))

    @e.property("doubling 10 x gives ten times as much")
    def scales(fn, x):
        close(fn(10 * x), 10 * fn(x))

    @e.value("an addition")
    def added(fn, x):
        close(fn(x), x + x)

    return e


def endless(x):
    while True:
        pass


def asleep(x):
    time.sleep(1000)


def swallows(x):
    while True:
        with contextlib.suppress(Exception):
            time.sleep(1000)


def slow_in_a_property(x):
    return endless(x) if x > 20 else 2 * x


@pytest.mark.parametrize("fn", [endless, asleep, swallows, slow_in_a_property])
def test_a_call_without_an_end_is_named(fn):
    result = teach.evaluate(make(), fn)
    assert result.status == "error" and result.statement == "a call ends within 0.4 s"
    text = str(result)
    assert ("x = 30" if fn is slow_in_a_property else "x = 0") in text
    assert f"in {'endless' if fn in (endless, slow_in_a_property) else fn.__name__}, line" in text


def test_many_slow_calls_end_the_check_and_name_the_slowest():
    def slow(x):
        time.sleep(0.3 if x == 2 else 0.05)
        return 2 * x

    result = teach.evaluate(make(call_seconds=20.0, check_seconds=0.6), slow)
    assert result.status == "error" and "together end within 0.6 s" in result.statement
    assert "the slowest call, of 0.3 s" in result.message and "x = 2" in str(result)


def test_limits_hold_where_there_are_no_signals():
    found = []
    thread = threading.Thread(target=lambda: found.append(teach.evaluate(make(), endless)))
    thread.start()
    thread.join()
    assert found[0].status == "error" and "a call ends within" in found[0].statement


def test_a_limit_does_not_hit_what_comes_after():
    for _ in range(3):
        assert teach.evaluate(make(call_seconds=0.1), endless).status == "error"
        time.sleep(0.3)
    assert teach.evaluate(make(), lambda x: x + x).status == "passed"


def c_loop(x):
    return sum(itertools.count())


def leaves(x):
    leave(0)


def kills(x):
    os.kill(os.getpid(), 9)


def crashes(x):
    import ctypes

    faulthandler.disable()  # of pytest: it would print
    ctypes.string_at(0)


def all_memory(x):
    return bytearray(1 << 45)


def copies(x):
    os.fork()


@needs_fork
@pytest.mark.parametrize(
    "fn, words",
    [
        (c_loop, "no result after 0.4 s"),
        (leaves, "ended the process"),
        (kills, "ended the process"),
        (crashes, "SIGSEGV"),
        (all_memory, "MemoryError"),
        (copies, "os.fork is not for answers"),
    ],
)
def test_an_answer_does_not_take_the_kernel_with_it(fn, words, monkeypatch, capsys):
    monkeypatch.setattr(apart, "GRACE", 0.5)
    result = teach.check(make(), fn)
    assert result.status == "error" and words in str(result)
    assert "x = 0" in str(result) and str(result) in capsys.readouterr().out


@needs_fork
def test_a_copy_tells_what_the_check_would_have_told(capsys):
    for fn in (lambda x: x + x, lambda x: x if x > 7 else 2 * x, lambda x: 1 / 0, None):
        here = teach.evaluate(make(), fn, seed=3)
        there = teach.check(make(), fn, seed=3)
        assert str(here) == str(there) and here.inputs == there.inputs
        assert (here.case, here.failing) == (there.case, there.failing)
    weights = torch.ones(3, requires_grad=True)
    (weights**2).sum().backward()  # torch's engine has worked here before

    def by_gradient(x):
        leaf = torch.tensor(float(x), requires_grad=True, dtype=torch.float64)
        (2 * leaf * x).backward()
        return leaf.grad

    assert teach.check(make(call_seconds=20.0), by_gradient).status == "passed"
    capsys.readouterr()


def test_what_an_answer_changes_is_put_back(tmp_path):
    def meddles(x):
        torch.set_default_dtype(torch.float32 if x % 2 else torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(3)
        torch.use_deterministic_algorithms(True)
        torch.autograd.set_detect_anomaly(True)
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        np.seterr(all="raise")
        warnings.simplefilter("ignore")
        os.chdir(tmp_path)
        os.environ["MEDDLED"] = "yes"
        sys.path.insert(0, "nowhere")
        sys.setrecursionlimit(12_345)
        return 2 * x

    def state():
        return (
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled(),
            torch.get_rng_state().tolist(), str(np.random.get_state()), np.geterr(),
             list(warnings.filters), os.getcwd(), dict(os.environ), list(sys.path),
            sys.getrecursionlimit(), os._exit,
        )  # fmt: skip

    before = state()
    assert teach.evaluate(make(call_seconds=20.0), meddles).status == "passed"
    assert state() == before


def test_a_check_does_not_load_the_compiler():
    # torch imports it, for a second or more, where its deterministic mode is set: in every copy.
    code = (
        "import sys; from bolearn import teach; e = teach.exercises.find('p1.t1.e1'); "
        "assert teach.evaluate(e, e.model_answer).status == 'passed'; "
        "assert 'torch._inductor' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_code_that_seeds_the_global_generators_is_found(seed):
    for use in (torch.manual_seed, np.random.seed):
        torch.manual_seed(seed), np.random.seed(seed)
        with (
            pytest.raises(Violation, match="global random state was used"),
            random_state_untouched(),
        ):
            use(seed)
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    with random_state_untouched():
        torch.rand(3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_call_that_fails_is_shown_with_its_own_value():
    result = teach.evaluate(make(), lambda x: 2 * x if x < 100 else 7.0)
    assert result.statement.startswith("doubling 10 x")
    rows = [(row.label, row.value) for row in result.rows if row.label != "cases"]
    assert ("input", "x = 10") in rows and ("called with", "x = 100") in rows
    assert rows[rows.index(("called with", "x = 100")) + 1] == ("returned", "7")
    assert rows[rows.index(("input", "x = 10")) + 1] == ("returned", "20")


@pytest.mark.parametrize(
    "value, kind, wanted",
    [
        (np.int64(3), None, 3),
        (np.bool_(True), bool, True),
        (torch.tensor(True), bool, True),
        (torch.tensor(3), int, 3),
        (torch.tensor(3.0, dtype=torch.float64), float, 3.0),
        (np.array(3.0), float, 3.0),
        (torch.tensor(3), float, 3.0),
        (3, float, 3.0),
        (True, float, True),
        (torch.tensor(2.0), float | None, 2.0),
        (None, float | None, None),
        (torch.tensor(2), int | float, 2),
        ((np.float64(1), torch.tensor(2.0)), tuple[float, float], (1.0, 2.0)),
        ([np.int64(1), 2], list[int], [1, 2]),
        ((torch.tensor(1), 2), tuple[int, ...], (1, 2)),
        ({"a": np.float64(1)}, dict[str, float], {"a": 1.0}),
    ],
)
def test_numbers_of_every_kind_are_numbers(value, kind, wanted):
    found = plain(value, kind)
    assert found == wanted and type(found) is type(wanted)
    if type(found) in (tuple, list):
        assert [type(v) for v in found] == [type(v) for v in wanted]


def test_tensors_stay_tensors_where_tensors_are_asked_for():
    leaf = torch.tensor(1.0, requires_grad=True)
    assert plain(leaf) is leaf and plain(leaf, torch.Tensor) is leaf
    assert isinstance(plain(torch.ones(1), float), torch.Tensor)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(3.0),
        np.arange(6).reshape(2, 3)[:, ::-1],
        np.broadcast_to(np.array([True]), (2, 1)),
        np.zeros((0, 2), dtype=np.float32),
        np.float64(2.5),
        np.array(4),
    ],
    ids=["float64", "backwards", "read-only", "empty", "number", "no axes"],
)
@pytest.mark.parametrize("kind", [torch.Tensor, torch.Tensor | None])
def test_arrays_are_tensors_where_tensors_are_asked_for(array, kind):
    found = plain(array, kind)
    assert isinstance(found, torch.Tensor) and tuple(found.shape) == np.shape(array)
    assert np.array_equal(found.numpy(), array)
    assert str(found.dtype) == f"torch.{array.dtype}"


def test_arrays_within_results_are_tensors_where_tensors_are_asked_for():
    found = plain((np.ones(2), [np.zeros(1)]), tuple[torch.Tensor, list[torch.Tensor]])
    assert isinstance(found[0], torch.Tensor) and isinstance(found[1][0], torch.Tensor)
    found = plain({"a": np.ones(2)}, dict[str, torch.Tensor])
    assert isinstance(found["a"], torch.Tensor)


def test_what_is_no_array_of_numbers_stays_what_it_is():
    for value in (np.array(["a"]), np.array([None]), [1.0, 2.0], 3.0, None):
        assert plain(value, torch.Tensor) is value or plain(value, torch.Tensor) == value
    assert isinstance(plain(np.ones(2)), np.ndarray)  # nothing was said
    assert isinstance(plain(np.ones(2), float), np.ndarray)
    assert plain(np.float64(2.0), torch.Tensor | float) == 2.0


def test_an_array_has_no_derivative_and_keeps_its_dtype():
    e = Exercise(id="limits.e2", title="double", hints=("a", "b", "c"))

    @e.answer
    def double(x: torch.Tensor) -> torch.Tensor:
        """Twice a tensor, with its derivative."""
        return 2 * x

    @e.cases
    def cases(rng):
        for k in range(20):
            yield Case(rng.normal(k + 1).requires_grad_())

    @e.shape
    def shape(fn, x):
        teach.has_shape(fn(x), x.shape, torch.float64)

    @e.property("it has a derivative")
    def differentiable(fn, x):
        teach.require(fn(x).requires_grad)

    cut = teach.evaluate(e, lambda x: 2 * x.detach().numpy())
    single = teach.evaluate(e, lambda x: np.float32(2) * x.detach().numpy().astype(np.float32))
    assert cut.status == "failed" and cut.statement == "it has a derivative"
    assert single.status == "failed" and "expected dtype torch.float64" in single.message


def test_results_of_numpy_pass():
    for wrap in (np.float64, np.asarray, torch.tensor):
        assert teach.evaluate(make(call_seconds=20.0), lambda x, wrap=wrap: wrap(2 * x)).status == (
            "passed"
        )


def test_a_result_can_be_told_to_another_process():
    import pickle

    result = teach.evaluate(make(), lambda x: 1.0)
    assert engine.CheckResult(**pickle.loads(pickle.dumps(engine.told(result)))).text() == (
        result.text()
    )
