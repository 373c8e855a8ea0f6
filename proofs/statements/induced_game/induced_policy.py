"""The induced policy: a policy over tokens, as a policy over actions."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import final

import attrs
from hypothesis import strategies as st

from lap import TabularModel
from lap.prompts import AbstractPrompt
from proofs.exact.enumeration import ExactPolicy, expected_return, trajectories
from proofs.exact.induced import InducedPlayer
from proofs.small_games import WORDS, FiniteGame, State, finite_games, random_policy, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.by_hand import aligned
from proofs.statements.cases import LAST_TURN, NO_MEMORY, SEEDS, Case
from tsmg import (
    ActionText,
    ClosedGame,
    ClosedState,
    Distribution,
    Finite,
    History,
    Observation,
    Parsed,
    Reply,
    Request,
    StandStill,
    TextOutcome,
    Transition,
    deterministic,
)

_SPELLINGS = ("a", "A", "b")
# From an extended state and an agent to the probability of each text outcome.
OutcomeDist = Callable[[ClosedState[State], str], Mapping[TextOutcome[str], float]]
_FOLDING_GAME = FiniteGame(
    starts=deterministic("x"),
    moves={
        "x": {
            ("a",): deterministic(Transition("y", (1.0,))),
            ("b",): Finite({Transition("x", (0.0,)): 0.5, Transition("y", (2.0,)): 0.5}),
        },
        "y": {
            ("a",): deterministic(Transition("end", (2.0,))),
            ("b",): deterministic(Transition("x", (-1.0,))),
        },
    },
    discount=0.5,
    horizon=2,
    invalid_rule=StandStill(penalty=0.5, with_feedback=True),
)


def _spelt_case(game: FiniteGame, seed: int) -> Case:
    """Replies of up to two tokens, of which two spell the same action."""
    return Case(game=game, policy=random_policy(game, _SPELLINGS, seed=seed, tokens=2))


def _canonical_replies_alone(case: Case) -> Sides:
    """Only the canonical reply of each action counts, and these are renormalised."""
    player = InducedPlayer(case.game, case.policy, least=1e-6)

    def dist(state: ClosedState[State], agent: str) -> Mapping[TextOutcome[str], float]:
        table = player.action_dist(state.state, agent).pmf()
        return {Parsed(action): float(p) for action, p in table.items()}

    return aligned(_return_dist_by_tokens(case), _return_dist_by_outcomes(case, dist))


@statement(
    routes=("every trajectory of tokens", "steps of the closed game by outcomes"),
    example=_spelt_case(_FOLDING_GAME, 1),
    cases=st.builds(
        _spelt_case,
        st.one_of(finite_games(states=1), finite_games(agents=2, horizon=1)),
        SEEDS,
    ),
    wrong=_canonical_replies_alone,
)
def tokens_and_the_induced_policy_have_one_law_of_play(case: Case) -> Sides:
    """For a prompt without memory, the distribution of the returns under tokens is that under the induced policy.

    Pi(outcome | s) is the sum of M(y | F(s)) over the replies y with psi(s, W(y)) = outcome, invalid outcomes included.
    The closed game is then played by outcomes alone.

    Assumes: the prompt shows only the current observation and feedback, which the extended state determines.
    Source: arXiv:2508.10839 (the idea); reconstructed.

    Theory: Theorem 3.1.
    """
    return aligned(_return_dist_by_tokens(case), _return_dist_by_outcomes(case, _induced(case)))


def _return_dist_by_tokens(case: Case) -> Mapping[tuple[float, ...], float]:
    """The distribution of all agents' returns, by every trajectory."""
    dist: dict[tuple[float, ...], float] = defaultdict(float)
    for trajectory in trajectories(case.game, case.policy):
        returns_N = [trajectory.episode.episode_return(agent) for agent in case.game.agents]
        dist[tuple(round(r, 9) for r in returns_N)] += float(trajectory.probability)
    return dist


def _return_dist_by_outcomes(
    case: Case, outcome_dist: OutcomeDist
) -> Mapping[tuple[float, ...], float]:
    """The same by steps of the closed game, over pairs of an extended state and the returns so far."""
    closed = ClosedGame(case.game)
    nothing = (0.0,) * len(case.game.agents)
    nodes = {(s, nothing): float(p) for s, p in closed.initial_state_dist().pmf().items()}
    for t in range(case.game.horizon or 0):
        following: dict[tuple[ClosedState[State], tuple[float, ...]], float] = defaultdict(float)
        for (state, returns_N), p in nodes.items():
            if closed.is_terminal(state):
                following[state, returns_N] += p
                continue
            for outcomes, q in _joint(case, state, outcome_dist):
                for after, chance in closed.transition_dist(state, outcomes).pmf().items():
                    gained_N = zip(returns_N, after.rewards_N, after.penalties_N, strict=True)
                    total_N = tuple(g + case.game.discount**t * (r + c) for g, r, c in gained_N)
                    following[after.state, total_N] += p * q * float(chance)
        nodes = following
    dist: dict[tuple[float, ...], float] = defaultdict(float)
    for (_, returns_N), p in nodes.items():
        dist[tuple(round(r, 9) for r in returns_N)] += p
    return dist


def _joint(
    case: Case, state: ClosedState[State], outcome_dist: OutcomeDist
) -> Iterator[tuple[dict[str, TextOutcome[str]], float]]:
    """Every combination of text outcomes of the acting agents, with its probability."""
    acting = case.game.acting_agents(state.state)
    for chosen in itertools.product(*(outcome_dist(state, agent).items() for agent in acting)):
        outcomes = {agent: outcome for agent, (outcome, _) in zip(acting, chosen, strict=True)}
        yield outcomes, math.prod(p for _, p in chosen)


def _induced(case: Case) -> OutcomeDist:
    """Pi(outcome | s), summed over replies."""
    closed, policy = ClosedGame(case.game), case.policy

    def dist(state: ClosedState[State], agent: str) -> Mapping[TextOutcome[str], float]:
        observation = Observation(
            text=case.game.observation_text(state.state, agent),
            feedback=closed.feedback_text(state, agent),
        )
        history = History(agent=agent, rules="", turns=(), observation=observation)
        prompt = policy.prompt.build(history, "")
        summed: dict[TextOutcome[str], float] = defaultdict(float)
        for reply, p in _replies(policy.model, prompt.text, policy.sampling.max_reply_tokens):
            summed[closed.read(state, agent, policy.parser.parse(reply))] += p
        return summed

    return dist


def _replies(
    model: TabularModel, prompt: str, left: int, ids: tuple[int, ...] = ()
) -> Iterator[tuple[str, float]]:
    """Every reply that begins with these tokens, with its conditional probability, from the table itself."""
    for token, p in enumerate(model.logits[model.row(prompt, ids)].softmax(-1).tolist()):
        if token == model.end or left == 1:
            yield model.text((*ids, token)), p
        else:
            for reply, q in _replies(model, prompt, left - 1, (*ids, token)):
                yield reply, p * q


@final
@attrs.frozen(kw_only=True)
class _TwoSpellings:
    """How likely the first reply is "a" or "A" (else "b"), and how likely the second is "a" after each."""

    small: float
    capital: float
    after_small: float
    after_capital: float


@final
@attrs.frozen(kw_only=True, eq=False)
class _ByActions:
    """A policy whose every reply is replaced, also in later prompts, by the canonical text of its action."""

    game: FiniteGame
    policy: ExactPolicy

    def reply_dist(self, request: Request) -> Distribution[Reply]:
        """The distribution of the canonical reply."""

        def canonical(reply: Reply) -> Reply:
            assert isinstance(reply.parser_outcome, ActionText)  # noqa: S101 - the example has no other replies
            agent = request.history.agent
            outcome = self.game.read_action(request.state, agent, reply.parser_outcome.text)
            assert isinstance(outcome, Parsed)  # noqa: S101 - nor invalid ones
            text = self.game.action_text(request.state, agent, outcome.action)
            return Reply(text=text, parser_outcome=ActionText(text))

        return self.policy.reply_dist(request).map(canonical)

    def reply_key(self, request: Request) -> Hashable:
        """All that the distribution of the reply depends on."""
        return self.policy.reply_key(request)


_SHARES = st.sampled_from((0.125, 0.25, 0.375, 0.5))


def _without_memory(case: _TwoSpellings) -> Sides:
    """The prompt shows no past replies."""
    gap = _gap(case, NO_MEMORY)
    return gap, case.capital * (case.after_capital - case.after_small)


@statement(
    routes=("two enumerations", "a formula in the example's probabilities"),
    example=_TwoSpellings(small=0.5, capital=0.25, after_small=0.875, after_capital=0.25),
    cases=st.builds(
        _TwoSpellings,
        small=_SHARES,
        capital=_SHARES,
        after_small=_SHARES,
        after_capital=_SHARES,
    ),
    shows=lambda gap: abs(gap[0]) > 0.1,
    wrong=_without_memory,
)
def a_prompt_that_shows_past_replies_can_leave_the_induced_policy_behind(
    case: _TwoSpellings,
) -> Sides:
    """Two replies can be one action and yet differ in what they lead to, where later prompts show them.

    A policy over actions, which remembers canonical replies, then has another distribution of play. Here the first
    reply says "a" or "A", which is the same; the second earns 1 by "a". Expected returns differ by p(A) (q after A -
    q after a).

    Source: reconstructed.

    Theory: Theorem 3.1.
    """
    return _gap(case, LAST_TURN), case.capital * (case.after_capital - case.after_small)


def _gap(case: _TwoSpellings, prompt: AbstractPrompt) -> float:
    """The expected return of the policy over tokens minus that of the policy over actions."""
    earned = {("a",): 1.0, ("b",): 0.0}
    game = FiniteGame(
        starts=deterministic("one"),
        moves={
            "one": {(word,): deterministic(Transition("two", (0.0,))) for word in WORDS},
            "two": {word: deterministic(Transition("end", (r,))) for word, r in earned.items()},
        },
    )
    rest = 1 - case.small - case.capital
    policy = tabular_policy(
        _SPELLINGS,
        dists={
            "one": {"a": case.small, "A": case.capital, "b": rest},
            "one\na\ntwo": {"a": case.after_small, "b": 1 - case.after_small},
            "one\nA\ntwo": {"a": case.after_capital, "b": 1 - case.after_capital},
            "one\nb\ntwo": {"a": 0.5, "b": 0.5},
            "two": {"a": 0.5, "b": 0.5},
        },
        prompt=prompt,
    )

    by_actions = _ByActions(game=game, policy=policy)
    return expected_return(trajectories(game, policy), "player") - expected_return(
        trajectories(game, by_actions), "player"
    )
