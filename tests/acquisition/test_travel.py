"""What a search is made of travels: to another process, or as a copy, before and after its use."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from oracles import box, draw, gp

import bolearn as bl

LIMITS = (bl.at_most(1, 0.3),)
MAKERS = {
    "LogEI": lambda one, two: bl.LogExpectedImprovement(one, 0.2),
    "PI": lambda one, two: bl.ProbabilityOfImprovement(one, 0.2),
    "LogCEI": lambda one, two: bl.LogConstrainedExpectedImprovement(
        two, 0.2, outcome_constraints=LIMITS
    ),
    "UCB": lambda one, two: bl.UpperConfidenceBound(one, 2.0),
    "mean": lambda one, two: bl.PosteriorMean(one),
    "qLogEI": lambda one, two: bl.qLogExpectedImprovement(one, 0.2).with_pending(one.X[:, :1]),
    "qLogNEI": lambda one, two: bl.qLogNoisyExpectedImprovement(one, one.X),
    "qLogNEI limited": lambda one, two: bl.qLogNoisyExpectedImprovement(
        two, two.X, outcome_constraints=LIMITS
    ),
    "qUCB": lambda one, two: bl.qUpperConfidenceBound(one, 2.0),
    "qSR": lambda one, two: bl.qSimpleRegret(two, objective=bl.weighted_sum(1.0, 2.0)),
    "qLogPF": lambda one, two: bl.qLogProbabilityOfFeasibility(two, outcome_constraints=LIMITS),
}


@pytest.mark.parametrize("name", MAKERS)
def test_acquisitions(name: str) -> None:
    one, two = gp(6, 2, 1, (2,)), gp(6, 2, 2, (2,))
    acq, X = MAKERS[name](one, two), draw((3, 2, 1, 2), "X")
    early = pickle.loads(pickle.dumps(acq)), copy.deepcopy(acq)
    value = acq(X)
    late = pickle.loads(pickle.dumps(acq)), copy.deepcopy(acq)  # with whatever it keeps by now
    for other in (*early, *late):
        assert torch.equal(other(X), value)


def test_what_goes_in_and_what_comes_out() -> None:
    model = gp(6, 2, 1, (2,))
    small = {"num_restarts": 2, "raw_samples": 16, "seed": 0}
    found = bl.optimize_acqf(bl.LogExpectedImprovement(model, 0.2), box(2), **small)
    among = bl.optimize_acqf(bl.LogExpectedImprovement(model, 0.2), choices=draw((5, 2), "c"))
    drawn = bl.thompson(model, box(2), **small)
    best = bl.incumbent(model, model.X)
    for thing in (found, among, drawn, best):
        for other in (pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing)):
            assert torch.equal(other.x, thing.x) and torch.equal(other.value, thing.value)
    for value in (bl.Sampler(8, (1, 2)), *LIMITS, bl.linear_constraint([0], [1.0], at_most=1.0)):
        assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)
