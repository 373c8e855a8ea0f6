"""A language model whose replies are drawn by inference servers.

A server samples up to the greatest length, or to a text at which the parser may stop. The reply is then cut where it
ends for the policy: at an end token, or where the criterion first holds. What follows was drawn from the same
distribution given the beginning, so cutting it off does not change the distribution of the reply. If a server stopped
too early, the reply continues in another request. Texts to stop at therefore only save time.
"""

import bisect
from collections.abc import Sequence
from typing import final

import attrs

from lap.encoding import PromptEncoder
from lap.engine.sampling import Sampling, TokenLogprobs
from lap.errors import ModelError
from lap.given import sampled_flags
from lap.model import StopCriterion
from lap.prompts import Prompt
from lap.remote.client import EngineError
from lap.remote.fleet import Fleet, Job
from lap.remote.server import CompletionRequest, DrawnTokens, EngineServer, Ids
from tsmg import Completion, EpisodeKey, Stream

_COMPARED = 256  # tokens of the vocabulary
_SEEDS = 2**53  # as many as a draw in [0, 1) can tell apart


@final
class EngineModel:
    """A language model behind servers that speak vLLM's completions protocol (``lap.remote.server``).

    The l-th token of a row is not picked by ``rngs[b].at(l)``, as a model here does: the stream gives the seed of the
    server's own generator. A reply is still a function of prompt, stream and weights, up to rounding.

    Args:
      fleet: the servers; each was connected.
      encoder: from prompts to token ids, and back.
      end_ids: the tokens that end a reply.
      stops: texts of which one is in every reply that the criterion of the policy holds of (``AbstractParser.stops``).
      model_id: what the records call the model.

    Attributes:
      model_id: what the records call the model.
      weights_version: of the weights that the servers hold.
      served_name: the name of adapters on the servers; empty for the bare model.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        encoder: PromptEncoder,
        end_ids: frozenset[int],
        stops: Sequence[str] = (),
        model_id: str = "",
    ) -> None:
        self.fleet, self.encoder = fleet, encoder
        self.model_id, self.weights_version = model_id, 0
        self.served_name = ""
        self._end_ids, self._stops = end_ids, tuple(stops)

    @property
    def context_length(self) -> int | None:
        """How many tokens prompt and reply may have together on every server, if they say so."""
        lengths = [server.context_length for server in self.fleet.servers]
        return min((length for length in lengths if length), default=None)

    def check_prompts(self, prompts: Sequence[Prompt], *, sampling: Sampling) -> None:
        """Refuse prompts to which the servers cannot reply.

        Raises:
          ModelError: the sampling truncates.
          ContextLengthError: a prompt and the longest reply do not fit a server's context; ``index`` says which.
        """
        if sampling.truncates:
            raise ModelError(
                "an engine does not say which tokens truncation kept, so nothing could be learnt from its replies; "
                "leave 'top_k', 'top_p' and 'min_p' out"
            )
        self.encoder.encode_within(prompts, self.context_length, sampling.max_reply_tokens)

    def check_tokenizer(self) -> None:
        """Refuse servers whose token ids have other meanings, or that treat other texts as control tokens.

        Servers only ever turn ids into text, to look for texts to stop at. How they split a text may differ: some take
        the rules of an architecture for those that a checkpoint declares.

        Raises:
          EngineError: a server has another tokenizer.
        """
        control = self.encoder.tokenizer.added_tokens_decoder
        step = max(1, len(self.encoder.tokenizer) // _COMPARED)
        ids = [i for i in range(0, len(self.encoder.tokenizer), step) if i not in control]
        names = "".join(token.content for token in control.values())
        said, control_ids = self.encoder.decode(tuple(ids)), self.encoder.trusted(names)
        for server in self.fleet.servers:
            there = server.detokenize(ids)
            if _without_blanks(there) != _without_blanks(said):
                raise EngineError(
                    f"the engine at {server.url} has another tokenizer: the ids {ids[:3]} and so on are {there!r:.60} "
                    f"there and {said!r:.60} here; serve the checkpoint that is trained"
                )
            if names and server.tokenize(names) != control_ids:
                raise EngineError(
                    f"the engine at {server.url} has another tokenizer: the control tokens {names!r:.100} have other "
                    "ids there; serve the checkpoint that is trained"
                )

    def given_ids(self, prompt: Prompt) -> Ids:
        """The tokens of ``prompt.prefill``, with which every reply to the prompt begins."""
        return self.encoder.given_ids(prompt.prefill)

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
        only: EngineServer | None = None,
    ) -> list[Completion]:
        """One reply per prompt, each by a request with a seed of its own.

        Args:
          prompts: the prompts, one per reply.
          rngs: one stream per prompt; the part of its key that a group shares says which server is asked.
          sampling: the distribution to sample from.
          stop_criterion: tells whether a reply may stop, given its text so far; where it holds of a text, it must hold
            of all that begin with it, as that of a parser does.
          only: the server to ask, rather than all.

        Raises:
          ModelError: the sampling truncates.
          ContextLengthError: a prompt leaves no room for the longest reply.
          EngineError: a server refuses a request or answers something else, or none is left.
        """
        self.check_prompts(prompts, sampling=sampling)
        rows = [
            _Row(
                prompt=prompt,
                prompt_ids=self.encoder.encode(prompt)[0],
                given=self.given_ids(prompt),
                rng=rng,
            )
            for prompt, rng in zip(prompts, rngs, strict=True)
        ]
        while waiting := [row for row in rows if not row.is_over(sampling.max_reply_tokens)]:
            jobs = [self._job(row, sampling) for row in waiting]
            for row, drawn in zip(
                waiting, self.fleet.complete(jobs, self.served_name, only=only), strict=True
            ):
                self._extend(row, drawn, stop_criterion)
        return [self._completion(row, sampling) for row in rows]

    def logprobs(self, completions: Sequence[Completion], *, sampling: Sampling) -> TokenLogprobs:
        """A server's weights are out of reach.

        Raises:
          ModelError: always.
        """
        raise ModelError(
            f"{self.model_id!r} on engines cannot be trained; a SplitModel learns here"
        )

    def _job(self, row: "_Row", sampling: Sampling) -> Job:
        return Job(
            group=EpisodeKey.group_of(row.rng),
            request=CompletionRequest(
                prompt_ids=(*row.prompt_ids, *row.given, *row.ids),
                seed=int(row.rng.at(row.requests) * _SEEDS),
                max_tokens=sampling.max_reply_tokens - len(row.ids),
                temperature=sampling.temperature,
                stops=self._stops,
                stop_ids=sorted(self._end_ids),
            ),
        )

    def _extend(self, row: "_Row", drawn: DrawnTokens, stop: StopCriterion | None) -> None:
        """Add what was drawn to a row, up to where its reply ends."""
        begun = len(row.ids)
        ids = [*row.ids, *drawn.ids]
        ends = [l for l, token in enumerate(ids, 1) if token in self._end_ids]
        ends += [len(ids) + 1]
        if stop is not None:  # it stays true once it is, so that bisection finds the first length
            lengths = range(len(ids) + 1)
            ends.append(
                bisect.bisect_left(
                    lengths, True, lo=begun + 1, key=lambda l: stop(self._text(row, ids[:l]))
                )
            )
        end = min(ends)
        row.ids = ids[:end]
        row.logprobs = [*row.logprobs, *drawn.logprobs][:end]
        row.is_finished = end <= len(ids)
        row.requests += 1

    def _text(self, row: "_Row", ids: Sequence[int]) -> str:
        kept = (i for i in (*row.given, *ids) if i not in self._end_ids)
        return self.encoder.decode(tuple(kept))

    def _completion(self, row: "_Row", sampling: Sampling) -> Completion:
        reply_ids = (*row.given, *row.ids)
        logprobs = [0.0] * len(row.ids) if sampling.is_greedy else row.logprobs
        return Completion(
            prompt_ids=row.prompt_ids,
            reply_ids=reply_ids,
            trainable=sampled_flags(row.given, reply_ids),
            logprobs=(*(0.0,) * len(row.given), *logprobs),
            finished=row.is_finished,
            prompt_text=self.encoder.encode(row.prompt)[1],
            reply_text=self._text(row, row.ids),
            model_id=self.model_id,
            weights_version=self.weights_version,
        )


def _without_blanks(text: str) -> str:
    """A text without blanks, of which some tokenizers tidy up a few."""
    return "".join(text.split())


@attrs.define(kw_only=True)
class _Row:
    """A reply while it is drawn; mutable, and used once."""

    prompt: Prompt
    prompt_ids: Ids
    given: Ids
    rng: Stream
    ids: list[int] = attrs.field(factory=list)
    logprobs: list[float] = attrs.field(factory=list)
    is_finished: bool = False
    requests: int = 0

    def is_over(self, max_reply_tokens: int) -> bool:
        """Whether nothing more is to be drawn."""
        return self.is_finished or len(self.ids) >= max_reply_tokens
