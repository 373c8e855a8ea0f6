"""Pi_trie: a language agent that can only name legal actions, token by token along the trie of their replies.

Each token is drawn only from those that continue the canonical reply of a legal action. Their probabilities (at the
policy's temperature, nothing truncated) are renormalised; greedy play takes the most probable of them. This
distribution *differs* from Pi, the induced policy, and from Pi given that the reply is canonical, since it does not
look ahead to what follows a token. None of its replies is invalid, so a model that does not know the form of a reply
can learn from its first episode on. What it learns is Pi_trie; what it replies without the constraint is another
question.

What plays is ``ConstrainedPolicy``; what learns is the ``LanguageAgentPolicy`` in it. The record of a reply holds, as
its support, the tokens that could be drawn at each place, so that learning scores it under the distribution that it
was drawn from. If only one token could follow, nothing was drawn: that token is recorded as given, not trainable, with
log-probability 0. Losses, entropies and divergences are therefore those of *choices*, and wherever tokens are counted
(``weighting="token"``, ``trained_tokens``), only choices count. A reply without a choice teaches nothing.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any, final

import attrs
import torch

from lap.engine.sampling import Sampling
from lap.errors import ContextLengthError
from lap.policy import LanguageAgentPolicy
from lap.prompts import Prompt
from lap.tries import Decoding, Trie, WritingModel, branch_scores
from tsmg import (
    AbstractGame,
    Distribution,
    Finite,
    GameLawError,
    NotEnumerableError,
    Reply,
    Request,
)

_REMEMBERED = 4096  # tries whose probabilities are kept while the weights stay as they are


@attrs.frozen(kw_only=True)
class CanonicalReply:
    """A legal action's canonical reply.

    Attributes:
      action: what it says.
      reply: the record, with the log-probabilities of constrained decoding.
      probability: under constrained decoding; those of all legal actions sum to 1.
      mass: under the free model, which bounds Pi(action) from below.

    Theory: Equation 14.1, Equation 14.2.
    """

    action: Any
    reply: Reply
    probability: float
    mass: float


@final
@attrs.frozen(kw_only=True)
class ConstrainedPolicy:
    """A language-agent policy that decodes along the trie of the legal actions' replies.

    Attributes:
      game: whose legal actions are looked up, in the state that the request carries.
      policy: prompt, model, parser and sampling; its truncation and its limit on the length of replies do not apply.
      memory: probabilities that are known under the present weights; ``None`` keeps none.

    Example:
      >>> import games, lap, tsmg
      >>> game = games.make("BernoulliBandit-v0")
      >>> free = lap.LanguageAgentPolicy(model=lap.TabularModel(("1", "2", "3")), parser=lap.WholeReplyParser())
      >>> policy = ConstrainedPolicy(game=game, policy=free)
      >>> match = tsmg.Match.begin(game, tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=0)))
      >>> [(r.action, round(r.probability, 3), round(r.mass, 4)) for r in policy.canonical(match.requests[0])]
      [(0, 0.333, 0.0625), (1, 0.333, 0.0625), (2, 0.333, 0.0625)]

    Theory: Definition 14.1, Equation 14.1.
    """

    game: AbstractGame[Any, Any]
    policy: LanguageAgentPolicy[Any]
    memory: dict[Hashable, Decoding] | None = attrs.field(default=None, eq=False, repr=False)

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """One canonical reply per request, by one draw of its stream; requests are computed together, equal ones once.

        Raises:
          ContextLengthError: a prompt has become too long for the model; the message names step and agent.
          GameLawError, NotEnumerableError: as ``canonical``.
        """
        decodings = self._decodings(requests)
        return [
            self._reply(decoding, decoding.dist.sample(request.stream()))
            for request, decoding in zip(requests, decodings, strict=True)
        ]

    def reply_dist(self, request: Request) -> Distribution[Reply]:
        """Pi_trie, as a distribution of replies; only the most probable one if the sampling is greedy."""
        (decoding,) = self._decodings([request])
        outcomes = decoding.dist.enumerate()
        return Finite([(self._reply(decoding, number), p) for number, p in outcomes if p > 0])

    def reply_key(self, request: Request) -> tuple[Prompt, tuple[str, ...]]:
        """All that the distribution of the reply depends on, besides the weights: the prompt, and the texts."""
        return self.policy.reply_key(request), tuple(text for _, text in self._legal(request))

    def action_entropy(self, request: Request) -> float:
        """The entropy of the action under constrained decoding, in nats."""
        (decoding,) = self._decodings([request])
        return -math.fsum(p * math.log(p) for _, p in decoding.dist.enumerate() if p > 0)

    def canonical(self, request: Request) -> tuple[CanonicalReply, ...]:
        """The canonical reply of every legal action.

        Raises:
          GameLawError: the legal actions cannot be listed, or one reply is the beginning of another.
          NotEnumerableError: the model's distributions cannot be looked at.
        """
        (decoding,) = self._decodings([request])
        masses = self._free_masses(decoding.trie)
        found = zip(self._legal(request), decoding.dist.enumerate(), masses, strict=True)
        return tuple(
            CanonicalReply(
                action=action,
                reply=self._reply(decoding, number),
                probability=float(p),
                mass=mass,
            )
            for (action, _), (number, p), mass in found
        )

    def check(self, request: Request) -> None:
        """Refuse a request that cannot be answered along a trie, without computing anything.

        Raises:
          GameLawError, NotEnumerableError: as ``canonical``.
        """
        self._trie(self._model, *self.reply_key(request))

    def with_logit_cache(self) -> "ConstrainedPolicy":
        """The same policy for a period in which no weights change; it computes no trie twice."""
        return attrs.evolve(self, memory={})

    @property
    def _model(self) -> WritingModel:
        model: object = self.policy.model
        if not isinstance(model, WritingModel):
            raise NotEnumerableError(f"the replies of {type(model).__name__} cannot be listed")
        return model

    def _legal(self, request: Request) -> tuple[tuple[Any, str], ...]:
        """Each legal action with its canonical text."""
        agent, state = request.history.agent, request.state
        actions = self.game.legal_actions(state, agent)
        if not actions:
            raise GameLawError(f"{self.game.name}: no legal actions are listed for {agent!r}")
        return tuple((a, self.game.action_text(state, agent, a)) for a in actions)

    @torch.no_grad()
    def _decodings(self, requests: Sequence[Request]) -> list[Decoding]:
        """The decoding of each request; those that are not known yet are computed together."""
        model, sampling = self._model, self.policy.sampling
        known = {} if self.memory is None else self.memory
        if len(known) > _REMEMBERED:
            known.clear()
        keys = [self.reply_key(request) for request in requests]
        tries: dict[tuple[Prompt, tuple[str, ...]], Trie] = {}
        for index, key in enumerate(keys):
            if key not in known and key not in tries:
                tries[key] = self._trie(model, *key)
                _check_length(model, tries[key], requests[index], index)
        scores = branch_scores(model, list(tries.values()), temperature=sampling.temperature or 1.0)
        for (key, trie), scores_C in zip(tries.items(), scores, strict=True):
            known[key] = trie.decoding(scores_C, greedy=sampling.is_greedy)
        return [known[key] for key in keys]

    def _trie(self, model: WritingModel, prompt: Prompt, texts: Sequence[str]) -> Trie:
        parser = self.policy.parser
        replies = [parser.wrap(text) for text in texts]
        try:
            return Trie.of(model, prompt, replies, stop_criterion=parser.is_complete)
        except GameLawError as error:
            raise GameLawError(f"{self.game.name}: {error}") from error

    @torch.no_grad()
    def _free_masses(self, trie: Trie) -> list[float]:
        """The probability of each reply under the free model, after the tokens that it is given."""
        prefixes = list(trie.children)
        dists_P_V = self._model.next_logprobs(trie.prompt, prefixes, sampling=self.policy.sampling)
        row_of = {prefix: n for n, prefix in enumerate(prefixes)}
        logs = [
            [
                float(dists_P_V[row_of[reply.reply_ids[:n]], token])
                for n, token in enumerate(reply.reply_ids)
                if reply.trainable[n]
            ]
            for reply in trie.replies
        ]
        return [math.exp(math.fsum(of_reply)) for of_reply in logs]

    def _reply(self, decoding: Decoding, number: int) -> Reply:
        completion = decoding.record(number)
        said = self.policy.parser.parse(completion.reply_text)
        return Reply(text=completion.reply_text, parser_outcome=said, completions=(completion,))


def _check_length(model: WritingModel, trie: Trie, request: Request, index: int) -> None:
    """Refuse a prompt that leaves no room for the longest of its replies."""
    longest = max(len(reply.reply_ids) for reply in trie.replies)
    try:
        model.check_prompts([trie.prompt], sampling=Sampling(max_reply_tokens=longest))
    except ContextLengthError as error:
        error.index = index
        error.add_note(f"asked of {request.history.agent!r} at step {request.step}")
        raise
