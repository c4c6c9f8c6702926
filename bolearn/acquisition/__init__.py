"""Acquisition functions: what is an evaluation at X worth, given what the model believes?

Each maps points ``*batch q d`` to values ``*batch`` and is maximised. Any other function of that
kind is an acquisition too, a lambda included.

| acquisition | use when | needs | a value costs |
|---|---|---|---|
| `LogExpectedImprovement` | the default for one point at a time | ``best_f`` | one posterior |
| `ExpectedImprovement` | teaching; its gradient vanishes far off | ``best_f`` | one posterior |
| `LogProbabilityOfImprovement` | a target is to be passed | ``best_f`` | one posterior |
| `ProbabilityOfImprovement` | teaching; its gradient vanishes too | ``best_f`` | one posterior |
| `LogConstrainedExpectedImprovement` | outputs have limits | ``best_f``, limits | one posterior |
| `UpperConfidenceBound` | exploration is to be set by hand | ``beta`` | one posterior |
| `PosteriorMean` | the last evaluation, or a recommendation | | one posterior |
| `qLogNoisyExpectedImprovement` | noise, constraints, q points | ``X_baseline`` | s joint draws |
| `qLogExpectedImprovement` | q points at once, little noise | ``best_f`` | s joint draws |
| `qUpperConfidenceBound` | q points, exploration set by hand | ``beta`` | s joint draws |
| `qSimpleRegret` | q points for the last evaluation | | s joint draws |
| `qLogProbabilityOfFeasibility` | nothing feasible is known yet | limits | s joint draws |
| `qLogKnowledgeGradient` | the final *mean* counts, or noise | ``points`` | an envelope |
| `qKnowledgeGradient` | the same in user units; q > 1 | ``points`` | an envelope; s joint draws |
| `MaxValueEntropySearch` | how high the maximum is | ``max_values`` | k x 16 nodes |
| `GIBBON` | the same, cheaper; a bound | ``max_values`` | k closed forms |
| `JointEntropySearch` | how high and where it is; a bound | ``optimal_...`` | k rank-one updates |
| `BALD` | the function itself, everywhere | | one posterior |
| `LogNoisyExpectedHypervolumeImprovement` | several objectives | ``ref_point`` | s closed forms |
| `LogExpectedHypervolumeImprovement` | the same, the front known | ``front`` | a closed form |
| `qLogNoisyExpectedHypervolumeImprovement` | q points jointly | ``ref_point`` | s joint draws |
| `qLogExpectedHypervolumeImprovement` | the same, the front known | ``front`` | s joint draws |

Objectives (`output`, `weighted_sum`) and limits (`at_most`, `at_least`) are functions of the
outcomes; every sampled acquisition takes any. `incumbent` finds ``best_f``, `sample_optima` what
entropy search averages over, `knowledge_gradient_points` the points of a knowledge gradient, and
`optimize_knowledge_gradient` refines them where its search ends. Your own sampled
acquisition is a subclass of `LogMonteCarloAcquisition` or `MonteCarloAcquisition` with a `utility`
of one line.
"""
