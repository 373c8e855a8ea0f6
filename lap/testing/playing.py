"""Checks of sampling: records, streams, batches, truncation, limits and caches."""

import itertools
from collections.abc import Iterator, Sequence

import attrs

from lap.engine.sampling import Sampling
from lap.errors import ModelError
from lap.model import CachingModel
from lap.prompts import Message, Prompt, Role, Segment
from lap.testing.report import Check, Fixture, perturb
from tsmg import Completion

_ROUNDING = (
    0.05  # the share of replies that may differ, since a draw can lie within rounding of a boundary
)


def records(fixture: Fixture) -> Iterator[str]:
    """Completions say what was sampled, by which model and under which weights."""
    model = fixture.make()
    model.weights_version = 3
    for sampling in fixture.samplings:
        for completion in fixture.sample(model, sampling):
            lengths = {
                name: len(values)
                for name, values in (
                    ("reply_ids", completion.reply_ids),
                    ("logprobs", completion.logprobs),
                    ("trainable", completion.trainable),
                )
            }
            if len(set(lengths.values())) > 1 or not completion.reply_ids:
                yield f"fields of different lengths: {lengths}"
            if not all(completion.trainable):
                yield "a sampled token that is not trainable"
            if not all(x <= fixture.tolerance for x in completion.logprobs):
                yield f"log-probabilities that are not numbers of at most 0: {completion.logprobs}"
            if (completion.model_id, completion.weights_version) != (model.model_id, 3):
                yield f"model {completion.model_id!r}, weights version {completion.weights_version}"


def recorded_logprobs(fixture: Fixture) -> Iterator[str]:
    """The ratio of the first optimiser step is 1."""
    for sampling in fixture.samplings:
        model = fixture.make()
        deviation = fixture.deviation(model, fixture.sample(model, sampling), sampling)
        if deviation > fixture.tolerance:
            yield f"{sampling}: log-probabilities differ by up to {deviation:.2g} nats"


def fresh_weights(fixture: Fixture) -> Iterator[str]:
    """What is sampled after a step follows the weights after the step."""
    model, sampling = fixture.make(), fixture.samplings[0]
    before = fixture.sample(model, sampling)
    perturb(model)
    deviation = fixture.deviation(model, fixture.sample(model, sampling), sampling)
    if deviation > fixture.tolerance:
        yield f"after the weights changed, log-probabilities differ by {deviation:.2g} nats"
    if fixture.deviation(model, before, sampling) <= fixture.tolerance:
        yield "replies of the old weights have the same log-probabilities under new ones"


def batch_independence(fixture: Fixture) -> Iterator[str]:
    """A reply sampled alone is the reply sampled beside others."""
    sampling = fixture.samplings[0]
    for beside in (fixture.prompts, tuple(reversed(fixture.prompts * 4))):
        streams = [s for n in range(4) for s in fixture.streams(n)][: len(beside)]
        together = fixture.make().sample(beside, streams, sampling=sampling)
        model = fixture.make()
        alone = [
            model.sample([prompt], [stream], sampling=sampling)[0]
            for prompt, stream in zip(beside, streams, strict=True)
        ]
        yield from _differences(fixture, together, alone)


def scoring_independence(fixture: Fixture) -> Iterator[str]:
    """A reply scored alone has the log-probabilities that it has beside others."""
    sampling = fixture.samplings[0]
    model = fixture.make()
    completions = fixture.sample(model, sampling) + fixture.sample(model, sampling, seed=1)
    together = fixture.rescored(model, completions, sampling)
    alone = [fixture.rescored(model, [completion], sampling) for completion in completions]
    first = 0
    for row in alone:
        difference = float((together[first : first + len(row)] - row).abs().max())
        first += len(row)
        if not difference <= fixture.tolerance:
            yield f"log-probabilities differ by {difference:.2g} nats"


def mixed_prompts(fixture: Fixture) -> Iterator[str]:
    """Prompts whose rows are hard to keep apart in one batch are sampled as each is scored alone."""
    sampling = fixture.samplings[0]
    model = fixture.make()
    mixed = attrs.evolve(fixture, prompts=MIXED_PROMPTS)
    completions = mixed.sample(model, sampling)
    if isinstance(model, CachingModel):
        view = model.with_logit_cache()
        completions += [c for seed in (1, 2) for c in mixed.sample(view, sampling, seed=seed)]
    for completion in completions:
        deviation = fixture.deviation(model, [completion], sampling)
        if deviation > fixture.tolerance:
            length = len(completion.prompt_ids)
            yield f"log-probabilities after a prompt of {length} tokens differ by {deviation:.2g} nats"
    together = fixture.deviation(model, completions, sampling)
    if together > fixture.tolerance:
        yield f"log-probabilities that are scored together differ by {together:.2g} nats"


def _asked(*texts: str) -> Prompt:
    roles: Iterator[Role] = itertools.cycle(("user", "assistant"))
    turns = zip(roles, texts, strict=False)
    return Prompt(tuple(Message(role, (Segment(text, trusted=False),)) for role, text in turns))


_BEGINNING = "You are on a small map of ice and holes. row "
MIXED_PROMPTS = (
    *(_asked(f"{_BEGINNING}i{' x' * n}") for n in (0, 3, 11, 25, 40, 3)),
    *(_asked(f"{_BEGINNING}j{' x' * n}", "left", "F P F", "up", "x") for n in (0, 2, 2, 30)),
)
"""Of a common beginning, of lengths that differ by little and by much or not at all, and with two turns of history."""


def streams(fixture: Fixture) -> Iterator[str]:
    """Randomness comes from the stream of the row, token by token, and from nothing else."""
    sampling = fixture.samplings[0]
    model = fixture.make()
    first = fixture.sample(model, sampling)
    yield from _differences(fixture, first, fixture.sample(model, sampling))
    prompt = fixture.prompts[0]
    rngs = [s for n in range(8) for s in fixture.streams(n)]
    replies = model.sample([prompt] * len(rngs), rngs, sampling=sampling)
    if len({completion.reply_ids for completion in replies}) < 2:
        yield f"{len(rngs)} different streams gave one reply"


def length_limit(fixture: Fixture) -> Iterator[str]:
    """A reply is cut at the limit and says so; a higher limit continues the same reply."""
    long = attrs.evolve(fixture.samplings[0], max_reply_tokens=5)
    whole = fixture.sample(fixture.make(), long)
    for limit in range(1, 5):
        short = attrs.evolve(long, max_reply_tokens=limit)
        for cut, reply in zip(fixture.sample(fixture.make(), short), whole, strict=True):
            if len(cut.reply_ids) > limit:
                yield f"{len(cut.reply_ids)} tokens with a limit of {limit}"
            elif cut.reply_ids != reply.reply_ids[:limit]:
                yield f"with a limit of {limit}, {cut.reply_ids} does not begin {reply.reply_ids}"
            if cut.finished and len(reply.reply_ids) > limit:
                yield "a reply that was cut is recorded as finished"


def stop_criterion(fixture: Fixture) -> Iterator[str]:
    """A reply stops as soon as the criterion accepts its text, and not before."""
    sampling = fixture.samplings[0]
    whole = fixture.sample(fixture.make(), sampling)
    arguments = (fixture.prompts, fixture.streams())
    never = fixture.make().sample(*arguments, sampling=sampling, stop_criterion=lambda _: False)
    if [c.reply_ids for c in never] != [c.reply_ids for c in whole]:
        yield "a criterion that accepts nothing changes the replies"
    for completion in fixture.make().sample(
        *arguments, sampling=sampling, stop_criterion=lambda _: True
    ):
        if len(completion.reply_ids) != 1 or not completion.finished:
            yield f"a criterion that accepts any text let {len(completion.reply_ids)} tokens pass"
    texts: list[str] = []

    def accepts(text: str) -> bool:
        texts.append(text)
        return bool(text)

    model = fixture.make()
    for stopped, reply in zip(
        model.sample(*arguments, sampling=sampling, stop_criterion=accepts), whole, strict=True
    ):
        if stopped.reply_ids != reply.reply_ids[: len(stopped.reply_ids)]:
            yield f"{stopped.reply_ids} does not begin {reply.reply_ids}"
        if stopped.reply_text and not (stopped.finished and stopped.reply_text in texts):
            yield f"{stopped.reply_text!r} was accepted, and is not recorded as finished"


def truncation(fixture: Fixture) -> Iterator[str]:
    """The support that truncation left is recorded, and log-probabilities are normalised on it."""
    for sampling in fixture.samplings:
        for completion in fixture.sample(fixture.make(), sampling):
            yield from _support_faults(completion, sampling)
    model = fixture.make()
    single = Sampling(top_k=1, max_reply_tokens=3)
    completions = fixture.sample(model, single)
    scores = fixture.rescored(model, completions, single)
    found = (*scores.tolist(), *(x for c in completions for x in c.logprobs))
    if not all(abs(x) <= 1e-6 for x in found):
        yield "with top_k=1 a token has a log-probability other than 0"


def _support_faults(completion: Completion, sampling: Sampling) -> Iterator[str]:
    support = completion.support
    if (support is not None) != sampling.truncates:
        yield f"{sampling}: the support is {'missing' if support is None else 'recorded'}"
    if support is None:
        return
    if len(support) != len(completion.reply_ids):
        yield f"{len(support)} supports of {len(completion.reply_ids)} tokens"
    for token, kept in zip(completion.reply_ids, support, strict=False):
        if token not in kept:
            yield f"token {token} is not in its support {kept}"
        if sampling.top_k and len(kept) > sampling.top_k:
            yield f"{len(kept)} tokens are kept with top_k={sampling.top_k}"


def greedy(fixture: Fixture) -> Iterator[str]:
    """Temperature 0 always takes the same token, and has no score."""
    sampling = Sampling(temperature=0, max_reply_tokens=3)
    model = fixture.make()
    completions = fixture.sample(model, sampling)
    again = fixture.sample(model, sampling, seed=1)
    if [c.reply_ids for c in completions] != [c.reply_ids for c in again]:
        yield "other streams gave other replies"
    if any(x != 0 for completion in completions for x in completion.logprobs):
        yield "a token that is taken for certain has a log-probability other than 0"
    try:
        model.logprobs(completions, sampling=sampling)
    except ModelError:
        return
    yield "logprobs gives greedy replies a score instead of raising ModelError"


def logit_cache(fixture: Fixture) -> Iterator[str]:
    """A view with a logit cache gives the same replies, at its first use and later."""
    model = fixture.make()
    if not isinstance(model, CachingModel):
        return
    for sampling in fixture.samplings:
        view = model.with_logit_cache()
        for seed in (0, 1, 0):
            replies = fixture.sample(model, sampling, seed=seed)
            cached = view.sample(fixture.prompts, fixture.streams(seed), sampling=sampling)
            yield from _differences(fixture, cached, replies)


def _differences(
    fixture: Fixture, ours: Sequence[Completion], theirs: Sequence[Completion]
) -> Iterator[str]:
    """How completions differ that should be equal up to rounding."""
    different = 0
    for a, b in zip(ours, theirs, strict=True):
        equal = a.reply_ids == b.reply_ids
        different += not equal
        pairs = zip(a.logprobs, b.logprobs, strict=True) if equal else ()
        if not all(abs(x - y) <= fixture.tolerance for x, y in pairs):
            yield f"{a.reply_ids} has log-probabilities {a.logprobs} and {b.logprobs}"
    if different > _ROUNDING * len(ours):
        yield f"{different} of {len(ours)} replies differ"


def is_caching(model: object) -> bool:
    """Whether a model offers a logit cache."""
    return isinstance(model, CachingModel)


CHECKS: tuple[Check, ...] = (
    Check(
        name="records",
        promise="a completion records ids, log-probabilities, loss mask, model and weights version",
        cause="fields of the completion are filled from something else than what was drawn",
        look=records,
    ),
    Check(
        name="recorded_logprobs",
        promise="under unchanged weights logprobs gives what sample recorded, so that the first ratio is 1",
        cause="temperature or truncation is left out, or both methods compute in different types",
        look=recorded_logprobs,
    ),
    Check(
        name="fresh_weights",
        promise="sample and logprobs use the present weights",
        cause="something that was computed from older weights is kept",
        look=fresh_weights,
    ),
    Check(
        name="batch_independence",
        promise="a reply does not depend on the prompts that are sampled beside it",
        cause="padding is attended to, or rows share random numbers",
        look=batch_independence,
    ),
    Check(
        name="scoring_independence",
        promise="the log-probabilities of a reply do not depend on those that are scored beside it",
        cause="padding is attended to",
        look=scoring_independence,
    ),
    Check(
        name="mixed_prompts",
        promise="beside prompts of other lengths, with common beginnings and past turns, each is sampled as if alone",
        cause="padding takes up a sliding window, enters a recurrent state or shifts the positions of a row",
        look=mixed_prompts,
    ),
    Check(
        name="streams",
        promise="equal streams give equal replies, and different streams different ones",
        cause="a global generator is used, or the stream is not",
        look=streams,
    ),
    Check(
        name="length_limit",
        promise="a reply is cut at max_reply_tokens, and token l is drawn by rng.at(l) whatever the limit",
        cause="random numbers are drawn in another order, or finished is always True",
        look=length_limit,
    ),
    Check(
        name="stop_criterion",
        promise="a reply ends with the first token at which the criterion accepts its text",
        cause="the criterion is not asked after every token",
        look=stop_criterion,
    ),
    Check(
        name="truncation",
        promise="a truncated distribution records its support, and is normalised on it",
        cause="log-probabilities are those of the whole vocabulary, or the support is not recorded",
        look=truncation,
    ),
    Check(
        name="greedy",
        promise="temperature 0 is deterministic, and logprobs refuses it with ModelError",
        cause="logprobs divides by the temperature without a check",
        look=greedy,
    ),
    Check(
        name="logit_cache",
        promise="a logit cache changes no reply",
        cause="contexts are confused, or cached logits are altered in place",
        look=logit_cache,
        offered=is_caching,
    ),
)
