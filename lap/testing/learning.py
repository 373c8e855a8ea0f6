"""Checks of learning: masks, gradients, reference models, states and checkpoints."""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence

import attrs
import torch

from lap.engine.sampling import Sampling
from lap.model import SavableModel, TrainableModel
from lap.policy import LanguageAgentPolicy
from lap.testing.report import Check, Fixture, perturb
from tsmg import Completion


def masks(fixture: Fixture) -> Iterator[str]:
    """Scores are padded on the right, and the loss mask is what the record says."""
    sampling = fixture.samplings[0]
    model = fixture.make()
    sampled = fixture.sample(model, sampling)
    first = attrs.evolve(sampled[0], trainable=(False,) * len(sampled[0].reply_ids))
    completions = [first, *sampled[1:], _cut(sampled[0])]
    with torch.no_grad():
        scores = model.logprobs(completions, sampling=sampling)
    width = max(len(completion.reply_ids) for completion in completions)
    for name, tensor in attrs.asdict(scores, recurse=False).items():
        if tensor is not None and tuple(tensor.shape) != (len(completions), width):
            yield f"{name} has shape {tuple(tensor.shape)} instead of {(len(completions), width)}"
            return
    for row, completion in zip(range(len(completions)), completions, strict=True):
        padding = width - len(completion.reply_ids)
        if scores.mask_B_L[row].tolist() != [*completion.trainable, *[False] * padding]:
            yield f"the mask {scores.mask_B_L[row].tolist()} is not {completion.trainable}"
        if padding and float(scores.logprobs_B_L[row, -padding:].abs().max()) != 0:
            yield "a log-probability after the end of a reply is not 0"


def _cut(completion: Completion) -> Completion:
    """The first token of a reply."""
    support = None if completion.support is None else completion.support[:1]
    return attrs.evolve(
        completion,
        reply_ids=completion.reply_ids[:1],
        trainable=completion.trainable[:1],
        logprobs=completion.logprobs[:1],
        support=support,
    )


def gradients(fixture: Fixture) -> Iterator[str]:
    """A small step along the gradient of log-probabilities raises them; the same holds for entropies."""
    sampling = fixture.samplings[0]
    for name in ("log-probabilities", "entropies"):
        model = fixture.make()
        perturb(model)  # where a distribution is uniform, its entropy has no gradient
        completions = fixture.sample(model, sampling)
        before = _sum_of_scores(name, model, completions, sampling)
        if not before.requires_grad:
            yield f"the {name} have no gradient"
            continue
        torch.autograd.backward(before)
        slopes = [(p, p.grad) for p in model.network.parameters() if p.grad is not None]
        squared = sum(float(slope.double().square().sum()) for _, slope in slopes)
        if not 0 < squared < math.inf:
            yield f"the gradient of the {name} has the squared norm {squared}"
            continue
        with torch.no_grad():
            for parameter, slope in slopes:
                parameter.add_(1e-3 / squared * slope)  # raises the sum by about 1e-3
            change = _sum_of_scores(name, model, completions, sampling) - before
        if not float(change) > 0:
            yield f"a small step along the gradient of the {name} changed their sum by {float(change):.2g}"


def _sum_of_scores(
    name: str, model: TrainableModel, completions: Sequence[Completion], sampling: Sampling
) -> torch.Tensor:
    scores = model.logprobs(completions, sampling=sampling)
    chosen = scores.entropies_B_L if name == "entropies" else scores.logprobs_B_L
    return chosen.double().sum()


def reference_model(fixture: Fixture) -> Iterator[str]:
    """The reference model is the model as it stands, fresh or learnt, and stays so while the model learns."""
    yield from _stays(fixture, "reference_model", has_learnt=False)
    yield from _stays(fixture, "reference_model", has_learnt=True)


def frozen_copy(fixture: Fixture) -> Iterator[str]:
    """A frozen copy of a model that has learnt is that model, and stays so."""
    yield from _stays(fixture, "frozen_copy", has_learnt=True)


def _stays(fixture: Fixture, kind: str, *, has_learnt: bool) -> Iterator[str]:
    sampling = fixture.samplings[0]
    model = fixture.make()
    if has_learnt:
        perturb(model)
    completions = fixture.sample(model, sampling)
    other = model.frozen_copy() if kind == "frozen_copy" else model.reference_model()
    digest = other.digest()
    before = fixture.deviation(other, completions, sampling)
    if before > fixture.tolerance:
        yield f"log-probabilities are {before:.2g} nats from those of the model"
    perturb(model)
    after = fixture.deviation(other, completions, sampling)
    if after > fixture.tolerance:
        yield f"after the model learnt, log-probabilities have moved by {after:.2g} nats"
    if other.digest() != digest:
        yield "its digest changed when the model learnt"
    if kind == "frozen_copy" and any(p.requires_grad for p in other.network.parameters()):
        yield "a parameter requires a gradient"


def state(fixture: Fixture) -> Iterator[str]:
    """What a model has learnt, put into a fresh model, gives the same model."""
    sampling = fixture.samplings[0]
    model, fresh = fixture.make(), fixture.make()
    fixture.sample(model, sampling)
    perturb(model)
    completions = fixture.sample(model, sampling)
    values = json.loads(json.dumps(model.state_values()))
    fresh.load_state_values(values)
    saved, loaded = model.learned_tensors(), fresh.learned_tensors()
    if saved.keys() != loaded.keys():
        yield f"two models have tensors of different names: {sorted(saved.keys() ^ loaded.keys())}"
        return
    with torch.no_grad():
        for name, tensor in loaded.items():
            tensor.copy_(saved[name])
    deviation = fixture.deviation(fresh, completions, sampling)
    if deviation > fixture.tolerance:
        yield f"log-probabilities differ by {deviation:.2g} nats"


def digest(fixture: Fixture) -> Iterator[str]:
    """Equal weights have equal digests, and other weights another one."""
    model = fixture.make()
    if model.digest() != fixture.make().digest():
        yield "two models of equal weights have different digests"
    before = model.digest()
    fixture.sample(model, fixture.samplings[0])
    if model.digest() != before:
        yield "the digest changed although the weights did not"
    perturb(model, everything=True)
    if model.digest() == before:
        yield "the weights changed and the digest did not"


def written(fixture: Fixture) -> Iterator[str]:
    """A given reply is recorded as the model would record it, and can be scored."""
    sampling = fixture.samplings[0]
    model = fixture.make()
    for sampled in fixture.sample(model, sampling):
        text = sampled.reply_text
        for criterion in (None, lambda _: True):
            completion = model.written(fixture.prompts[0], text, stop_criterion=criterion)
            if completion.reply_text != text:
                yield f"{text!r} is recorded as {completion.reply_text!r}"
            if not (completion.finished and all(completion.trainable)):
                yield f"{text!r} is recorded as unfinished or untrainable"
            if completion.reply_ids:
                scores = fixture.rescored(model, [completion], sampling)
                if not bool(scores.isfinite().all()):
                    yield f"{text!r} has log-probabilities {scores.tolist()}"


def checkpoint(fixture: Fixture) -> Iterator[str]:
    """A policy that is saved and loaded is the same policy."""
    sampling = fixture.samplings[0]
    model = fixture.make()
    perturb(model)
    completions = fixture.sample(model, sampling)
    with tempfile.TemporaryDirectory() as folder:
        LanguageAgentPolicy(model=model, sampling=sampling).save_pretrained(folder)
        loaded = LanguageAgentPolicy.from_pretrained(folder)
    if loaded.sampling != sampling:
        yield f"the sampling distribution is {loaded.sampling}"
    deviation = fixture.deviation(loaded.model, completions, sampling)
    if deviation > fixture.tolerance:
        yield f"log-probabilities differ by {deviation:.2g} nats"


def is_savable(model: object) -> bool:
    """Whether a model can be saved as a checkpoint."""
    return isinstance(model, SavableModel)


CHECKS: tuple[Check, ...] = (
    Check(
        name="masks",
        promise="scores have shape (B, L), are 0 after the end of a reply, and mask what the policy did not choose",
        cause="rows are padded on the left, or the mask is made from lengths instead of trainable",
        look=masks,
    ),
    Check(
        name="gradients",
        promise="log-probabilities and entropies have a gradient in the parameters that are learnt",
        cause="logprobs runs without gradients, detaches its result or uses a copy of the weights",
        look=gradients,
    ),
    Check(
        name="reference_model",
        promise="reference_model is the model as it stands, whatever it learnt before and learns later",
        cause="it shares weights that are learnt, or is the model as it was first made",
        look=reference_model,
    ),
    Check(
        name="frozen_copy",
        promise="frozen_copy is the model as it stands, without gradients",
        cause="it shares weights that are learnt, or is made from the initial ones",
        look=frozen_copy,
    ),
    Check(
        name="state",
        promise="learned_tensors and state_values hold all that learning changes",
        cause="a tensor is missing, a copy, or not in the network",
        look=state,
    ),
    Check(
        name="digest",
        promise="digest depends on the weights, and on nothing else",
        cause="names, identities or the number of calls are hashed, or some weights are not",
        look=digest,
    ),
    Check(
        name="written",
        promise="written records a given text in the model's own tokens",
        cause="the text is altered, or cannot be scored",
        look=written,
    ),
    Check(
        name="checkpoint",
        promise="save_pretrained and the registered loader give the same model again",
        cause="a setting or a tensor is not saved, or no loader is registered for the backend",
        look=checkpoint,
        offered=is_savable,
    ),
)
