"""The reference of the KL term is the policy that training started from, whatever that had learnt before."""

from typing import Any, final

import attrs
import numpy as np
import torch
from hypothesis import strategies as st

from algorithms import MSGRPOConfig
from algorithms.method.batch import TrainingRow
from algorithms.training.learner import Learner, learners_of
from lap import LanguageAgentPolicy, Message, Prompt, Sampling, Segment, TabularModel
from lap.model import TrainableModel
from proofs.statement import Array, Sides, statement

_WORDS = ("a", "b")
_PROMPT = Prompt((Message("user", (Segment("x", trusted=True),)),))
_CONFIG = MSGRPOConfig(kl_coefficient=0.5)
_AGENT = "player"

Logits = tuple[float, float, float]  # of the two words, and of the end of the reply


@final
@attrs.frozen(kw_only=True, eq=False)
class Training:
    """The logits of one prompt as they were made, and what was added to them since. Each of shape (V,).

    Attributes:
      base_V: of the model as it was made.
      before_V: what it learnt before this training (cloning, say, or an earlier run).
      after_V: what it has learnt in this training.
    """

    base_V: Logits
    before_V: Logits
    after_V: Logits

    def policy(self) -> LanguageAgentPolicy[TabularModel]:
        """The policy as it was made; replies have one token."""
        model = TabularModel(_WORDS, capacity=1)
        model.row(_PROMPT.text)
        _add(model, self.base_V)
        return LanguageAgentPolicy(model=model, sampling=Sampling(max_reply_tokens=1))


def _add(model: TrainableModel, change_V: Logits) -> None:
    """Learn: add to the logits."""
    with torch.no_grad():
        model.network.get_parameter("logits").add_(torch.tensor([change_V], dtype=torch.float64))


_LOGIT = st.floats(-2.0, 2.0)
_LOGITS = st.tuples(_LOGIT, _LOGIT, _LOGIT)


def _to_the_model_as_it_was_made(case: Training) -> Sides:
    """The reference is the model before all that it ever learnt: a base whose adapters are switched off."""
    policy = case.policy()
    (learner,) = learners_of({_AGENT: policy})
    _add(policy.model, case.before_V)
    return _gradients(case, learner), _pulls(case)


@statement(
    routes=("automatic differentiation of the trainer's loss", "closed form in the distributions"),
    example=Training(base_V=(1.0, 0.0, -1.0), before_V=(-2.0, 1.0, 0.5), after_V=(0.5, 0.5, -1.0)),
    cases=st.builds(Training, base_V=_LOGITS, before_V=_LOGITS, after_V=_LOGITS),
    tolerance=1e-6,  # weights of rows are in single precision
    wrong=_to_the_model_as_it_was_made,
)
def the_kl_term_holds_on_to_the_policy_that_training_started_from(case: Training) -> Sides:
    """The KL term has no gradient where training starts; later the mean gradient is beta (M_theta - M_start).

    Each side holds the gradient in the logits at the start, then after some learning. A term that refers to an earlier
    model has a gradient at the start: it pulls the policy back from what it had learnt before.

    Assumes: the tokens are sampled from M_theta itself; no advantage and no entropy term. Source: arXiv:2402.03300 (the
    term); that its reference is the starting policy is this library's reading.

    Theory: Equation 12.4.
    """
    policy = case.policy()
    _add(policy.model, case.before_V)
    (learner,) = learners_of({_AGENT: policy})
    return _gradients(case, learner), _pulls(case)


def _gradients(case: Training, learner: Learner) -> Array:
    """The mean gradient of the loss at the start, and after learning. Shape (2 V,)."""
    at_start_V = _mean_gradient(learner)
    _add(learner.policy.model, case.after_V)
    return np.concatenate([at_start_V, _mean_gradient(learner)])


def _mean_gradient(learner: Learner) -> Array:
    """The gradient of the library's loss over every token, weighted by its probability. Shape (V,)."""
    model: Any = learner.policy.model
    sampling = learner.policy.sampling
    with torch.no_grad():
        logprobs_V = model.next_logprobs(_PROMPT, [()], sampling=sampling)[0].tolist()
    rows = [
        TrainingRow(
            agent=_AGENT,
            completion=model.record(_PROMPT, [token], [logprob]),
            advantage=0.0,
            weight=float(np.exp(logprob)),
        )
        for token, logprob in enumerate(logprobs_V)
    ]
    terms, _ = learner.loss(rows, _CONFIG, regularisation=1.0)
    (gradient,) = torch.autograd.grad(terms.loss, [model.logits])
    array: Array = gradient[0].numpy(force=True)
    return array


def _pulls(case: Training) -> Array:
    """Zero, and beta (p - q): p after learning, q at the start. Shape (2 V,)."""
    start_V = np.array(case.base_V) + np.array(case.before_V)
    q_V, p_V = _softmax(start_V), _softmax(start_V + np.array(case.after_V))
    return np.concatenate([np.zeros(len(q_V)), _CONFIG.kl_coefficient * (p_V - q_V)])


def _softmax(logits_V: Array) -> Array:
    exp_V: Array = np.exp(logits_V)
    softmax_V: Array = exp_V / exp_V.sum()
    return softmax_V
