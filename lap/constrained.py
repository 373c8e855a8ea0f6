"""Pi_trie: a language agent that can only say legal actions, token by token along the trie of their replies.

At each token only those can be drawn that continue the canonical reply of a legal action. Their probabilities (at the
policy's temperature, nothing truncated) are renormalised; greedy play takes the most probable of them. This is
*another distribution* than Pi, the induced policy, and than Pi given that the reply is canonical: what follows a
token is not looked ahead to. For evaluation without invalid texts and without sampling noise, and for the entropy of
actions; not for training.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any, Protocol, final, runtime_checkable

import attrs
import torch

from lap.engine.sampling import Sampling
from lap.model import EnumerableModel, StopCriterion
from lap.policy import LanguageAgentPolicy
from lap.prompts import Prompt
from tsmg import (
    AbstractGame,
    Completion,
    Distribution,
    Finite,
    GameLawError,
    NotEnumerableError,
    Reply,
    Request,
)

_Ids = tuple[int, ...]


@runtime_checkable
class _Writer(EnumerableModel, Protocol):
    """A model whose replies can be listed, and that can write a given one."""

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion: ...


@attrs.frozen(kw_only=True)
class CanonicalReply:
    """A legal action's canonical reply.

    Attributes:
      action: what it says.
      reply: the record, with the log-probabilities of constrained decoding.
      probability: under constrained decoding; those of all legal actions sum to 1.
      mass: under the free model, which bounds Pi(action) from below.
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
      policy: prompt, model, parser and sampling.

    Example:
      >>> import games, lap, tsmg
      >>> game = games.make("BernoulliBandit-v0")
      >>> free = lap.LanguageAgentPolicy(model=lap.TabularModel(("1", "2", "3")), parser=lap.WholeReplyParser())
      >>> policy = ConstrainedPolicy(game=game, policy=free)
      >>> match = tsmg.Match.begin(game, tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=0)))
      >>> [(r.action, round(r.probability, 3), round(r.mass, 4)) for r in policy.canonical(match.requests[0])]
      [(0, 0.333, 0.0625), (1, 0.333, 0.0625), (2, 0.333, 0.0625)]
    """

    game: AbstractGame[Any, Any]
    policy: LanguageAgentPolicy[Any]

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """One canonical reply per request; equal requests are computed once."""
        dists: dict[Hashable, Distribution[Reply]] = {}
        replies = []
        for request in requests:
            key = self.reply_key(request)
            if key not in dists:
                dists[key] = self.reply_dist(request)
            replies.append(dists[key].sample(request.stream()))
        return replies

    def reply_dist(self, request: Request) -> Distribution[Reply]:
        """Pi_trie, as a distribution of replies; the greatest probability alone where the sampling is greedy."""
        found = self.canonical(request)
        return Finite([(one.reply, one.probability) for one in found if one.probability > 0])

    def reply_key(self, request: Request) -> Hashable:
        """All that the distribution of the reply depends on, beside the weights."""
        return self.policy.reply_key(request), self._texts(request)

    def action_entropy(self, request: Request) -> float:
        """The entropy of the action under constrained decoding, in nats."""
        chances = [one.probability for one in self.canonical(request)]
        return -math.fsum(p * math.log(p) for p in chances if p > 0)

    @torch.no_grad()
    def canonical(self, request: Request) -> tuple[CanonicalReply, ...]:
        """The canonical reply of every legal action.

        Raises:
          GameLawError: the legal actions cannot be listed, or one reply is the beginning of another.
          NotEnumerableError: the model's distributions cannot be looked at.
        """
        model: object = self.policy.model
        if not isinstance(model, _Writer):
            raise NotEnumerableError(f"the replies of {type(model).__name__} cannot be listed")
        prompt = self.policy.reply_key(request)
        texts = self._texts(request)
        ids = self._written(model, prompt, texts)
        free, limited = self._dists(model, prompt, ids)
        return tuple(
            CanonicalReply(
                action=action,
                reply=self._reply(model.record(prompt, row, limited[row])),
                probability=math.exp(math.fsum(limited[row])),
                mass=math.exp(math.fsum(free[row])),
            )
            for (action, _), row in zip(texts, ids, strict=True)
        )

    def _texts(self, request: Request) -> tuple[tuple[Any, str], ...]:
        """Each legal action with its canonical text."""
        agent, state = request.history.agent, request.state
        actions = self.game.legal_actions(state, agent)
        if not actions:
            raise GameLawError(f"{self.game.name}: no legal actions are listed for {agent!r}")
        return tuple((a, self.game.action_text(state, agent, a)) for a in actions)

    def _written(
        self, model: _Writer, prompt: Prompt, texts: Sequence[tuple[Any, str]]
    ) -> list[_Ids]:
        parser = self.policy.parser
        ids = [
            model.written(prompt, parser.wrap(text), stop_criterion=parser.is_complete).reply_ids
            for _, text in texts
        ]
        whole = set(ids)
        if len(whole) < len(ids) or any(row[:n] in whole for row in ids for n in range(len(row))):
            raise GameLawError(
                f"{self.game.name}: the reply of one action is that of another, or its beginning"
            )
        return ids

    def _dists(
        self, model: _Writer, prompt: Prompt, ids: Sequence[_Ids]
    ) -> tuple[dict[_Ids, list[float]], dict[_Ids, list[float]]]:
        """Log-probabilities of each reply's tokens: of the free model, and renormalised over the trie."""
        children: dict[_Ids, set[int]] = {}
        for row in ids:
            for n, token in enumerate(row):
                children.setdefault(row[:n], set()).add(token)
        prefixes = list(children)
        whole_P_V = free_P_V = model.next_logprobs(prompt, prefixes, sampling=self._untruncated)
        if self.policy.sampling != self._untruncated:
            free_P_V = model.next_logprobs(prompt, prefixes, sampling=self.policy.sampling)
        free_dist: dict[_Ids, dict[int, float]] = {}
        limited_dist: dict[_Ids, dict[int, float]] = {}
        for prefix, free_V, whole_V in zip(prefixes, free_P_V, whole_P_V, strict=True):
            tokens = sorted(children[prefix])
            limited = self._renormalised(whole_V[tokens].double())
            free_dist[prefix] = dict(zip(tokens, free_V[tokens].tolist(), strict=True))
            limited_dist[prefix] = dict(zip(tokens, limited.tolist(), strict=True))

        def along(dist: dict[_Ids, dict[int, float]], row: _Ids) -> list[float]:
            return [dist[row[:n]][token] for n, token in enumerate(row)]

        return {r: along(free_dist, r) for r in ids}, {r: along(limited_dist, r) for r in ids}

    @property
    def _untruncated(self) -> Sampling:
        """The distribution that is limited to the trie: top-k and the like might leave nothing of it."""
        temperature = self.policy.sampling.temperature or 1.0
        return Sampling(
            temperature=temperature, max_reply_tokens=self.policy.sampling.max_reply_tokens
        )

    def _renormalised(self, logprobs: torch.Tensor) -> torch.Tensor:
        """Log-probabilities that sum to 1; all on the greatest where the sampling is greedy."""
        if not self.policy.sampling.is_greedy:
            return torch.log_softmax(logprobs, dim=-1)
        chosen = torch.full_like(logprobs, -math.inf)
        chosen[logprobs.argmax()] = 0.0
        return chosen

    def _reply(self, completion: Completion) -> Reply:
        said = self.policy.parser.parse(completion.reply_text)
        return Reply(text=completion.reply_text, parser_outcome=said, completions=(completion,))
