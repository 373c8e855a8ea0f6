"""Enumeration: against sampling by the runner, known sums, and refusals."""

import math
from fractions import Fraction
from typing import Any

import pytest
import torch

import games
from lap import (
    LanguageAgentPolicy,
    MemorylessPrompt,
    Prompt,
    Sampling,
    ScriptedModel,
    TabularModel,
    WholeReplyParser,
    reply_dist,
)
from proofs import expected_returns, trajectories
from tests.checkpoints import tiny_model
from tests.strategies import Countdown, Dice
from tsmg import (
    Episode,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Match,
    NotEnumerableError,
    PlayerPolicy,
    UniformPlayer,
    play,
)

KUHN = games.make("KuhnPoker-v0")


def talker(*vocabulary: str, tokens: int = 1, **sampling: Any) -> LanguageAgentPolicy[Any]:
    model = TabularModel(vocabulary, capacity=500)
    with torch.no_grad():
        torch.manual_seed(0)
        model.logits.copy_(torch.randn_like(model.logits))
    return LanguageAgentPolicy(
        model=model,
        prompt=MemorylessPrompt(with_rules=False),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=tokens, **sampling),
    )


def said(episode: Episode[Any]) -> tuple[Any, ...]:
    steps = [(s.t, s.state, [(a.agent, a.reply, a.outcome, a.played) for a in s.agent_steps],
              s.rewards_N, s.penalties_N) for s in episode.steps]  # fmt: skip
    return (*map(str, steps), episode.final_state, episode.ending)


def test_kuhn_in_exact_fractions() -> None:
    """Uniform play is worth 1/8 to the first player: exactly, and as the walk over states finds it."""
    uniform = UniformPlayer(KUHN)
    found = trajectories(KUHN, PlayerPolicy(KUHN, uniform))
    assert sum(trajectory.probability for trajectory in found) == 1
    assert all(isinstance(trajectory.probability, Fraction) for trajectory in found)
    value = sum(
        trajectory.probability * int(trajectory.episode.episode_return("first"))
        for trajectory in found
    )
    assert value == Fraction(1, 8)
    walked = expected_returns(KUHN, {"first": uniform, "second": uniform})["first"]
    assert float(value) == pytest.approx(walked)


@pytest.mark.parametrize(
    "game",
    [Countdown(), *(pytest.param(g, marks=pytest.mark.slow) for g in (Dice(horizon=4), KUHN))],
)
def test_the_runner_plays_what_is_listed_as_often_as_it_is_listed(game: Any) -> None:
    """Records are equal but for their keys; frequencies agree within five standard errors."""
    policy = PlayerPolicy(game, UniformPlayer(game))
    listed: dict[Any, float] = {}
    for trajectory in trajectories(game, policy):
        listed[said(trajectory.episode)] = listed.get(said(trajectory.episode), 0) + float(
            trajectory.probability
        )
    count = 2000
    drawn = play(game, policy, [EpisodeSpec(key=EpisodeKey(seed=s)) for s in range(count)])
    seen: dict[Any, int] = {}
    for episode in drawn:
        assert isinstance(episode, Episode)
        seen[said(episode)] = seen.get(said(episode), 0) + 1
    assert set(seen) <= set(listed)
    assert sum(listed.values()) == pytest.approx(1)
    for record, p in listed.items():
        assert abs(seen.get(record, 0) / count - p) <= 5 * (p * (1 - p) / count) ** 0.5 + 1e-9


@pytest.mark.parametrize("sampling", [{}, {"top_k": 2}, {"temperature": 0.5}])
def test_listed_replies_are_those_that_are_sampled(sampling: dict[str, Any]) -> None:
    """Token by token: the same calls as sampling records, with the probabilities that they record."""
    policy = talker("a", "b", tokens=2, **sampling)
    game = games.make("BernoulliBandit-v0", horizon=1)
    listed = {
        completion: float(trajectory.replies_N[0])
        for trajectory in trajectories(game, policy)
        for _, completion in trajectory.episode.completions("player")
    }
    records = play(game, policy, [EpisodeSpec(key=EpisodeKey(seed=s)) for s in range(60)])
    for record in records:
        assert isinstance(record, Episode)
        ((_, completion),) = record.completions("player")
        assert listed[completion] == pytest.approx(math.exp(sum(completion.logprobs)))
    policy.model.logits.data.zero_()  # negative control: other weights, other records
    (other,) = play(game, policy, [EpisodeSpec(key=EpisodeKey(seed=0))])
    assert isinstance(other, Episode)
    assert all(completion not in listed for _, completion in other.completions("player"))


def test_a_network_lists_its_replies_too() -> None:
    """Two tokens of three choices each: nine replies at most, as likely as the network's scores say."""
    policy = LanguageAgentPolicy(
        model=tiny_model(sharp=2.0), sampling=Sampling(max_reply_tokens=2, top_k=3)
    )
    game = games.make("LineWalk-v0", length=2)
    (request,) = Match.begin(game, EpisodeSpec(key=EpisodeKey(seed=0))).requests
    atoms = list(policy.reply_dist(request).enumerate())
    assert 3 <= len(atoms) <= 9
    assert sum(p for _, p in atoms) == pytest.approx(1)
    completions = [completion for reply, _ in atoms for completion in reply.completions]
    scores = policy.model.logprobs(completions, sampling=policy.sampling).logprobs_B_L.sum(-1).exp()
    assert scores.tolist() == pytest.approx([p for _, p in atoms], abs=1e-5)


def test_what_is_too_large_is_refused_with_its_size() -> None:
    with pytest.raises(NotEnumerableError, match=r"more than 50 trajectories: \d+ after step"):
        trajectories(KUHN, talker("a", "b", tokens=3), limit=50)
    model = TabularModel(tuple("abcdefghij"))
    with pytest.raises(NotEnumerableError, match=r"more than 50 replies: \d+ with 2 of 9 tokens"):
        reply_dist(model, Prompt(()), sampling=Sampling(max_reply_tokens=9), limit=50)
    scripted = LanguageAgentPolicy(model=ScriptedModel(lambda prompt: "bet"))
    with pytest.raises(NotEnumerableError, match="ScriptedModel cannot be listed"):
        trajectories(KUHN, scripted)
    with pytest.raises(InvalidArgumentError, match="must name every agent"):
        trajectories(KUHN, {"first": talker("bet")})
