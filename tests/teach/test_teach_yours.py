"""What a learner built is used later in the notebook once it has passed."""

import torch

from bolearn import teach
from bolearn.teach import session
from bolearn.teach.exercises import find

ID = "p4.t3.e2"


def test_the_model_answer_stands_in_until_the_check_has_passed(capsys):
    teach.setup("p4.t3")
    mine = find(ID).model_answer

    def wrong(Y, f_opt, sense="max"):
        return torch.zeros_like(Y)

    assert teach.yours(ID, wrong) is mine
    assert ID in capsys.readouterr().out
    teach.check(ID, wrong)
    assert teach.yours(ID, wrong) is mine


def test_a_function_that_passed_is_used_and_nothing_is_printed(capsys):
    teach.setup("p4.t3")

    def right(Y, f_opt, sense="max"):
        return find(ID).model_answer(Y, f_opt, sense)

    teach.check(ID, right)
    capsys.readouterr()
    assert teach.yours(ID, right) is right
    assert capsys.readouterr().out == ""


def test_another_notebook_does_not_inherit_the_result():
    teach.setup("p4.t3")
    teach.check(ID, find(ID).model_answer)
    assert session.passed(ID)
    teach.setup("p4.t3")
    assert not session.passed(ID)
