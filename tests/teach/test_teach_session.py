"""Predictions, claims and the closing table."""

import json

import numpy as np
import pytest
import torch

from bolearn import teach
from bolearn.errors import BolearnError, DataError
from bolearn.teach import session


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.delenv("FULL", raising=False)
    teach.setup("p1.t1")
    yield
    torch.set_num_threads(threads)
    torch.set_printoptions(profile="default")
    np.set_printoptions(precision=8, linewidth=75)


def test_setup_prints_one_line_and_sets_the_threads(capsys):
    context = teach.setup("p4.t3", threads=2)
    assert capsys.readouterr().out == "p4.t3 is ready: 2 threads\n"
    assert torch.get_num_threads() == 2
    assert context.tutorial == "p4.t3" and context.full is False


def test_full_comes_from_the_environment_unless_given(monkeypatch):
    monkeypatch.setenv("FULL", "1")
    assert teach.setup("p1.t1").full is True
    assert teach.setup("p1.t1", full=False).full is False


@pytest.mark.parametrize("threads", [0, -1, True])
def test_setup_refuses_odd_thread_counts(threads):
    with pytest.raises(DataError, match="positive integer"):
        teach.setup("p1.t1", threads=threads)


def test_setup_asks_for_optional_groups_in_one_sentence(capsys):
    teach.setup("p1.t1", needs={"notebooks": ("torch",)})
    assert "ready" in capsys.readouterr().out
    with pytest.raises(ImportError, match=r"'moon', of which no_such is not installed.*moon\.txt"):
        teach.setup("p1.t1", needs={"moon": ("torch", "no_such")})
    assert not capsys.readouterr().out


def test_setup_forgets_the_notebook_before():
    teach.claim("true", True)
    teach.setup("p1.t2")
    assert teach.claims_table().claims == ()


def test_a_true_claim_prints_its_number_and_tolerance_not_the_error(capsys):
    teach.claim("first", True)
    teach.claim("second", error=1.2345e-13, tolerance=1e-12)
    out = capsys.readouterr().out
    assert out == "claim 1 holds: first\nclaim 2 holds: second (within 1e-12)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        {"condition": False},
        {"condition": torch.tensor(False)},
        {"condition": np.bool_(False)},
        {"error": 2e-12, "tolerance": 1e-12},
        {"error": float("nan"), "tolerance": 1.0},
        {"error": torch.tensor([0.0, float("nan")]), "tolerance": 1.0},
        {"error": float("inf"), "tolerance": 1.0},
        {"error": torch.tensor([0.0, 3.0, 0.0]), "tolerance": 1.0},
        {"condition": True, "error": 2.0, "tolerance": 1.0},
        {"condition": False, "error": 0.0, "tolerance": 1.0},
    ],
)
def test_a_false_claim_raises(arguments):
    with pytest.raises(teach.ClaimError, match="claim 1 is false: no"):
        teach.claim("no", **arguments)
    assert issubclass(teach.ClaimError, AssertionError)
    assert issubclass(teach.ClaimError, BolearnError)
    assert session.summary()["claims"] == 0


def test_a_false_claim_says_the_numbers():
    with pytest.raises(teach.ClaimError, match=r"error is 0\.25, the tolerance 0\.1"):
        teach.claim("no", error=0.25, tolerance=0.1)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({}, "got neither"),
        ({"condition": True, "kind": "opinion"}, "expected kind"),
        ({"condition": 1.0}, "one bool"),
        ({"condition": "yes"}, "one bool"),
        ({"condition": torch.tensor([True, True])}, r"\.all\(\)"),
        ({"error": 0.1}, "expected a tolerance"),
        ({"error": 0.1, "tolerance": float("nan")}, "expected a tolerance"),
        ({"error": -0.1, "tolerance": 1.0}, "negative"),
        ({"error": torch.zeros(0), "tolerance": 1.0}, "empty"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(arguments, words):
    with pytest.raises(DataError, match=words):
        teach.claim("text", **arguments)


def test_running_a_cell_again_replaces_its_claim():
    with pytest.raises(teach.ClaimError):
        teach.claim("a", False)
    teach.claim("b", True)
    teach.claim("a", True)
    assert [(c.text, c.verdict) for c in teach.claims_table().claims] == [
        ("a", "holds"),
        ("b", "holds"),
    ]


def test_the_table_has_all_forms_and_says_undecided_in_words(capsys):
    teach.claim("x < y & z | w", True, kind="theorem")
    teach.claim("close", error=0.0, tolerance=1e-8, detail="500 pairs")
    teach.undecided("LogEI beats EI", "4 seeds")
    table = teach.claims_table()
    assert "claim 3 is undecided: LogEI beats EI (4 seeds)" in capsys.readouterr().out
    assert str(table) == repr(table)
    lines = str(table).splitlines()
    assert lines[0] == "What p1.t1 proved"
    assert lines[1].startswith("identity: ") and "; theorem: proved for all" in lines[1]
    assert "undecided: " in lines[1] and "paired" not in lines[1]
    assert lines[4].split() == ["1", "x", "<", "y", "&", "z", "|", "w", "theorem", "✓", "holds"]
    assert lines[5].split()[-3:] == ["1e-08", "✓", "holds"]
    assert lines[6].endswith("? undecided")
    page = table._repr_html_()
    assert all(lines[1] in form for form in (page, table._repr_markdown_()))
    assert "x &lt; y &amp; z | w" in page and page.count('<th scope="col"') == 5
    assert "<caption" in page and page.count('<th scope="row"') == 3
    assert "x < y & z \\| w" in table._repr_markdown_()


def test_every_kind_is_explained_where_it_occurs():
    for kind in ("identity", "theorem", "run", "monte-carlo", "paired"):
        teach.claim(f"a claim of kind {kind}", True, kind=kind)
        assert f"{kind}: " in teach.claims_table().explained()
    assert "\n" not in teach.claims_table().explained()


def test_the_summary_is_machine_readable():
    teach.claim("a", True)
    teach.undecided("b")
    session.record_exercise("p1.t1.e1", "passed")
    session.record_exercise("p1.t1.e2", "error")
    session.record_exercise("p1.t1.e3", "failed")
    session.record_exercise("p1.t1.e3", "not attempted")
    assert json.loads(session.summary_json()) == {
        "claims": 1,
        "undecided": 1,
        "exercises": {"passed": 1, "failed": 1, "not attempted": 1},
    }


def test_a_question_without_a_guess_goes_on(capsys):
    teach.predict("q", "0 or 5?", ["0", "5"])
    out = capsys.readouterr().out
    assert "no guess yet" in out and "0 | 5" in out
    teach.reveal("q", "5", because="it is a view")
    out = capsys.readouterr().out
    assert "no guess was made" in out and "0 or 5?" in out and "it is a view" in out


@pytest.mark.parametrize(
    "options, guess, answer, words",
    [
        (["0", "5"], "5", "5", "✓ as you guessed"),
        (["0", "5"], 5, "5", "✓ as you guessed"),
        (["view", "copy"], " VIEW ", "copy", "≠ not as you guessed"),
        (None, 102, 100.0, "✓ as you guessed"),
        (None, 150, 100.0, "≠ not as you guessed"),
        (None, "1e3", 1000, "✓ as you guessed"),
    ],
)
def test_a_guess_is_shown_beside_the_result(capsys, options, guess, answer, words):
    teach.predict("q", "?", options, guess=guess)
    assert "guess recorded" in capsys.readouterr().out
    teach.reveal("q", answer)
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, guess", [(["0", "5"], "7"), (None, "many"), (None, float("nan"))]
)
def test_a_guess_that_is_not_understood_stops_nothing(capsys, options, guess):
    teach.predict("q", "?", options, guess=guess)
    out = capsys.readouterr().out
    assert "not understood" in out and "no guess yet" in out
    teach.reveal("q", "5")
    assert "no guess was made" in capsys.readouterr().out


def test_reveal_works_where_the_question_was_skipped(capsys):
    teach.reveal("never asked", 3)
    assert "3" in capsys.readouterr().out
