"""The kit for model backends: it passes three that are sound, and rejects a broken one for every check."""

import copy
import math
from collections.abc import Callable

import attrs
import pytest
import torch

from lap import LoraSettings, Sampling, TabularModel, TransformersModel
from lap.model import tensors_digest
from lap.testing import CHECKS, ModelConformanceError, Status, check_model
from tests.checkpoints import tiny_model
from tests.letter_model import LetterModel
from tsmg import InvalidArgumentError, Stream

SOUND: dict[str, Callable] = {
    "tabular": lambda: TabularModel(("a", "b", "c"), capacity=4000),
    "transformers": lambda: tiny_model(sharp=3.0),
    "chat": lambda: tiny_model("chatml", sharp=3.0),
    "letters": lambda: LetterModel("abcdefg"),
}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=[pytest.mark.slow] if name == "chat" else [])
        for name, make in SOUND.items()
    ],
)
def test_a_sound_backend_passes(make):
    report = check_model(make)
    report.raise_if_broken()
    assert len(report.results) == len(CHECKS)


@pytest.mark.slow
def test_adapters_pass_when_their_base_is_saved(tmp_path):
    tiny_model(sharp=3.0).save_pretrained(tmp_path)

    def make():
        return TransformersModel.from_pretrained(tmp_path, chat=False).with_lora(LoraSettings(r=2))

    check_model(make).raise_if_broken()


class ForgetsItsVersion(LetterModel):
    def completion(self, *given, **named):
        return attrs.evolve(super().completion(*given, **named), weights_version=0)


class ForgetsTheTemperature(LetterModel):
    def logprobs(self, completions, *, sampling):
        return super().logprobs(completions, sampling=attrs.evolve(sampling, temperature=1.0))


class KeepsReplies(LetterModel):
    def sample(self, prompts, rngs, *, sampling, stop_criterion=None):
        kept = self.__dict__.setdefault("kept", {})
        key = (tuple(prompts), tuple(rng.key for rng in rngs), sampling)
        if key not in kept:
            kept[key] = super().sample(prompts, rngs, sampling=sampling)
        return kept[key]


class SharesStreams(LetterModel):
    def sample(self, prompts, rngs, **named):
        return super().sample(prompts, [rngs[0]] * len(rngs), **named)


class SeesThePadding(LetterModel):
    def logprobs(self, completions, **named):
        scores = super().logprobs(completions, **named)
        seen = sum(scores.logprobs_B_L.shape) / 1000
        return attrs.evolve(scores, logprobs_B_L=scores.logprobs_B_L - seen * scores.mask_B_L)


class CountsPaddingAsTokens(LetterModel):
    def sample(self, prompts, rngs, **named):
        completions = super().sample(prompts, rngs, **named)
        longest = max(len(completion.prompt_ids) for completion in completions)
        return [
            attrs.evolve(
                c, logprobs=tuple(x - (longest - len(c.prompt_ids)) / 1000 for x in c.logprobs)
            )
            for c in completions
        ]


class DrawsFromOneGenerator(LetterModel):
    def sample(self, prompts, rngs, **named):
        self.calls = self.__dict__.get("calls", 0) + 1
        return super().sample(prompts, [Stream(self.calls, *rng.key) for rng in rngs], **named)


class NeverCuts(LetterModel):
    def completion(self, *given, **named):
        return attrs.evolve(super().completion(*given, **named), finished=True)


class NeverStops(LetterModel):
    def sample(self, prompts, rngs, *, sampling, stop_criterion=None):
        return super().sample(prompts, rngs, sampling=sampling)


class ForgetsTheSupport(LetterModel):
    def completion(self, *given, **named):
        return attrs.evolve(super().completion(*given, **named), support=None)


class ScoresGreedyReplies(LetterModel):
    def logprobs(self, completions, *, sampling):
        used = attrs.evolve(sampling, temperature=sampling.temperature or 1.0)
        return super().logprobs(completions, sampling=used)


class CachesOtherLogits(LetterModel):
    def with_logit_cache(self):
        return LetterModel(self.letters, seed=1)


class MasksByLength(LetterModel):
    def logprobs(self, completions, **named):
        scores = super().logprobs(completions, **named)
        return attrs.evolve(scores, mask_B_L=scores.logprobs_B_L != 0)


class HasNoGradient(LetterModel):
    @torch.no_grad()
    def logprobs(self, completions, **named):
        return super().logprobs(completions, **named)


class HasTheOppositeGradient(LetterModel):
    def logprobs(self, completions, **named):
        scores = super().logprobs(completions, **named)
        turned = 2 * scores.logprobs_B_L.detach() - scores.logprobs_B_L
        return attrs.evolve(scores, logprobs_B_L=turned)


class RefersToItself(LetterModel):
    def reference_model(self):
        return self


class RefersToItsBeginning(LetterModel):
    def reference_model(self):
        return LetterModel(self.letters)


class CopiesNothing(LetterModel):
    def frozen_copy(self):
        return copy.copy(self)


class ForgetsItsHead(LetterModel):
    def learned_tensors(self):
        tensors = super().learned_tensors()
        return {name: tensor for name, tensor in tensors.items() if "head" not in name}


class HashesNames(LetterModel):
    def digest(self):
        return tensors_digest({name: torch.zeros(1) for name in super().learned_tensors()})


class WritesLess(LetterModel):
    def written(self, prompt, reply, *, stop_criterion=None):
        return super().written(prompt, reply[:1], stop_criterion=stop_criterion)


class SavesOtherWeights(LetterModel):
    def save_pretrained(self, folder, *, weights=None):
        LetterModel(self.letters, seed=1).save_pretrained(folder)


class Raises(LetterModel):
    def sample(self, prompts, rngs, **named):
        raise ZeroDivisionError("a device was lost")


BROKEN = [
    ("records", ForgetsItsVersion),
    ("recorded_logprobs", ForgetsTheTemperature),
    ("fresh_weights", KeepsReplies),
    ("batch_independence", SharesStreams),
    ("scoring_independence", SeesThePadding),
    ("mixed_prompts", CountsPaddingAsTokens),
    ("streams", DrawsFromOneGenerator),
    ("streams", SharesStreams),
    ("length_limit", NeverCuts),
    ("stop_criterion", NeverStops),
    ("truncation", ForgetsTheSupport),
    ("greedy", ScoresGreedyReplies),
    ("logit_cache", CachesOtherLogits),
    ("masks", MasksByLength),
    ("gradients", HasNoGradient),
    ("gradients", HasTheOppositeGradient),
    ("reference_model", RefersToItself),
    ("reference_model", RefersToItsBeginning),
    ("frozen_copy", CopiesNothing),
    ("state", ForgetsItsHead),
    ("digest", HashesNames),
    ("written", WritesLess),
    ("checkpoint", SavesOtherWeights),
    ("records", Raises),
]


@pytest.mark.parametrize(("check", "model"), BROKEN, ids=lambda x: getattr(x, "__name__", x))
def test_a_broken_backend_is_rejected_by_name(check, model):
    report = check_model(lambda: model("abcdefg"), checks=[check])
    assert report.failed == (check,)
    with pytest.raises(ModelConformanceError, match=f"(?s){check}: .*seen: .*likely cause: "):
        report.raise_if_broken()


def test_every_check_rejects_something():
    assert {check for check, _ in BROKEN} == {check.name for check in CHECKS}


def test_what_a_model_does_not_offer_is_not_checked():
    report = check_model(SOUND["tabular"])
    missing = {r.check.name for r in report.results if r.status is Status.NOT_OFFERED}
    assert missing == {"logit_cache", "checkpoint"}


class Nothing(TabularModel):
    """Its log-probabilities are no numbers."""

    def logprobs(self, completions, *, sampling):
        scores = super().logprobs(completions, sampling=sampling)
        return attrs.evolve(scores, logprobs_B_L=scores.logprobs_B_L * math.nan)


def test_what_is_no_number_is_rejected():
    report = check_model(lambda: Nothing(tuple("abc"), capacity=4000), checks=["recorded_logprobs"])
    assert report.failed == ("recorded_logprobs",)


def test_a_result_says_what_was_seen_only_if_it_failed():
    (passed,) = check_model(SOUND["tabular"], checks=["records"]).results
    assert str(passed) == f"records: {passed.check.promise} (ok)"


@pytest.mark.parametrize(
    "arguments",
    [{"prompts": []}, {"samplings": []}, {"samplings": [Sampling(temperature=0.0)]}],
)
def test_what_nothing_can_be_checked_with_is_refused(arguments):
    with pytest.raises(InvalidArgumentError, match="must each have one at least, and no sampling"):
        check_model(SOUND["tabular"], **arguments)


def test_an_unknown_check_is_refused():
    with pytest.raises(InvalidArgumentError, match="names of checks"):
        check_model(SOUND["tabular"], checks=["speed"])
