"""From texts to games: the induced policy, the game closed under text, the game that fixed other agents leave."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import attrs
from hypothesis import strategies as st

from lap import LastTurnsPrompt, MemorylessPrompt, TabularModel
from lap.prompts import AbstractPrompt
from proofs.exact.enumeration import ExactPolicy, Trajectory, trajectories
from proofs.exact.induced import InducedPlayer
from proofs.small_games import WORDS, FiniteGame, finite_games, random_policy, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import Case
from tsmg import (
    AbstractExplicitGame,
    AbstractInvalidRule,
    ActionText,
    ClosedGame,
    ClosedState,
    Distribution,
    EpisodeKey,
    Finite,
    Forfeit,
    History,
    Illegal,
    Malformed,
    Observation,
    Parsed,
    ParseFailure,
    PlayDefault,
    PlayRandomLegal,
    Reply,
    Request,
    StandStill,
    TextOutcome,
    Transition,
    Turn,
    deterministic,
    product,
)

_SPELLINGS = ("a", "A", "b")
LAST_TURN = LastTurnsPrompt(turns=1, with_rules=False)
NO_MEMORY = MemorylessPrompt(with_rules=False)
_KEY = EpisodeKey(seed=0)
OutcomeLaw = Callable[[ClosedState[Any], str], Mapping[TextOutcome[Any], float]]


def _aligned(
    one: Mapping[Any, float], other: Mapping[Any, float]
) -> tuple[list[float], list[float]]:
    """Two tables of probabilities, over everything that either of them holds."""
    keys = sorted({*one, *other})
    return [one.get(key, 0.0) for key in keys], [other.get(key, 0.0) for key in keys]


# ---- tokens and actions ----------------------------------------------------------------------

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


_SEEDS = st.integers(0, 10_000)


def _canonical_replies_alone(case: Case) -> Sides:
    """Only the canonical reply of each action counts, and these are renormalised."""
    player = InducedPlayer(case.game, case.policy, least=1e-6)

    def dist(state: ClosedState[Any], agent: str) -> Mapping[TextOutcome[Any], float]:
        table = player.action_dist(state.state, agent).pmf()
        return {Parsed(action): float(p) for action, p in table.items()}

    return _aligned(_law_by_tokens(case), _law_by_outcomes(case, dist))


@statement(
    routes=("every line of tokens", "steps of the closed game by outcomes"),
    example=_spelt_case(_FOLDING_GAME, 1),
    cases=st.builds(
        _spelt_case,
        st.one_of(finite_games(states=1), finite_games(agents=2, horizon=1)),
        _SEEDS,
    ),
    wrong=_canonical_replies_alone,
)
def tokens_and_the_induced_policy_have_one_law_of_play(case: Case) -> Sides:
    """For a prompt without memory, the distribution of the returns under tokens is that under the induced policy.

    Pi(outcome | s) is the sum of M(y | F(s)) over the replies y with psi(s, W(y)) = outcome, invalid outcomes included.
    The closed game is then played by outcomes alone.

    Assumes: the prompt looks at the present observation and feedback alone, which the extended state decides.
    Source: arXiv:2508.10839 (the idea); reconstructed.
    """
    return _aligned(_law_by_tokens(case), _law_by_outcomes(case, _induced(case)))


def _law_by_tokens(case: Case) -> Mapping[tuple[float, ...], float]:
    """The distribution of all agents' returns, by every line of play."""
    dist: dict[tuple[float, ...], float] = defaultdict(float)
    for trajectory in trajectories(case.game, case.policy):
        returns_N = [trajectory.episode.episode_return(agent) for agent in case.game.agents]
        dist[tuple(round(one, 9) for one in returns_N)] += float(trajectory.probability)
    return dist


def _law_by_outcomes(case: Case, outcome_law: OutcomeLaw) -> Mapping[tuple[float, ...], float]:
    """The same by steps of the closed game, from one distribution over (extended state, returns so far) to the next."""
    closed = ClosedGame(case.game)
    nothing = (0.0,) * len(case.game.agents)
    nodes = {(s, nothing): float(p) for s, p in closed.initial_state_dist().pmf().items()}
    for t in range(case.game.horizon or 0):
        following: dict[Any, float] = defaultdict(float)
        for (state, returns_N), p in nodes.items():
            if closed.is_terminal(state):
                following[state, returns_N] += p
                continue
            for outcomes, q in _joint(case, state, outcome_law):
                for after, chance in closed.transition_dist(state, outcomes).pmf().items():
                    gained_N = zip(returns_N, after.rewards_N, after.penalties_N, strict=True)
                    total_N = tuple(g + case.game.discount**t * (r + c) for g, r, c in gained_N)
                    following[after.state, total_N] += p * q * float(chance)
        nodes = following
    dist: dict[tuple[float, ...], float] = defaultdict(float)
    for (_, returns_N), p in nodes.items():
        dist[tuple(round(one, 9) for one in returns_N)] += p
    return dist


def _joint(
    case: Case, state: ClosedState[Any], outcome_law: OutcomeLaw
) -> Iterator[tuple[dict[str, TextOutcome[Any]], float]]:
    """What the acting agents can come to say, with its probability."""
    acting = case.game.acting_agents(state.state)
    for chosen in itertools.product(*(outcome_law(state, agent).items() for agent in acting)):
        outcomes = {agent: one for agent, (one, _) in zip(acting, chosen, strict=True)}
        yield outcomes, math.prod(p for _, p in chosen)


def _induced(case: Case) -> OutcomeLaw:
    """Pi(outcome | s), summed over replies."""
    closed, policy = ClosedGame(case.game), case.policy

    def dist(state: ClosedState[Any], agent: str) -> Mapping[TextOutcome[Any], float]:
        observation = Observation(
            text=case.game.observation_text(state.state, agent),
            feedback=closed.feedback_text(state, agent),
        )
        history = History(agent=agent, rules="", turns=(), observation=observation)
        prompt = policy.prompt.build(history, "")
        summed: dict[TextOutcome[Any], float] = defaultdict(float)
        for reply, p in _replies(policy.model, prompt.text, policy.sampling.max_reply_tokens):
            summed[closed.read(state, agent, policy.parser.parse(reply))] += p
        return summed

    return dist


def _replies(
    model: TabularModel, prompt: str, left: int, ids: tuple[int, ...] = ()
) -> Iterator[tuple[str, float]]:
    """Every reply that begins with these tokens, with its probability after them, from the table itself."""
    for token, p in enumerate(model.logits[model.row(prompt, ids)].softmax(-1).tolist()):
        if token == model.end or left == 1:
            yield model.text((*ids, token)), p
        else:
            for reply, q in _replies(model, prompt, left - 1, (*ids, token)):
                yield reply, p * q


# ---- a prompt that shows past replies --------------------------------------------------------


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
    """A policy of which only the action is kept: it is said, and later remembered, by its canonical text."""

    game: AbstractExplicitGame[Any, Any]
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

    def reply_key(self, request: Request) -> Any:
        """All that the distribution depends on."""
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

    def value(played: ExactPolicy) -> float:
        found = trajectories(game, played)
        return sum(float(x.probability) * x.episode.episode_return("player") for x in found)

    return value(policy) - value(_ByActions(game=game, policy=policy))


# ---- a game and its invalid rule -------------------------------------------------------------

_RULES: tuple[Callable[[float], AbstractInvalidRule], ...] = (
    lambda penalty: StandStill(penalty=penalty),
    lambda penalty: PlayDefault(action="a", penalty=penalty),
    lambda penalty: PlayRandomLegal(penalty=penalty),
    lambda penalty: Forfeit(penalty=penalty),
)
_OUTCOMES: tuple[TextOutcome[str], ...] = (
    Parsed("a"),
    Parsed("b"),
    Illegal("c"),
    Malformed("empty"),
)
_PENALTY = 0.25


def _valid_texts_cost(game: FiniteGame) -> Sides:
    """The penalty is taken for valid texts, too."""
    return _closed_sides(game, valid_texts_cost=_PENALTY)


@statement(
    routes=("the closed game's distribution", "the definition of each rule"),
    example=attrs.evolve(
        _FOLDING_GAME,
        starts=deterministic(0),
        moves={
            0: {
                ("a",): deterministic(Transition(1, (1.0,))),
                ("b",): Finite({Transition(0, (0.0,)): 0.25, Transition(1, (2.0,)): 0.75}),
            }
        },
    ),
    cases=finite_games(),
    wrong=_valid_texts_cost,
)
def a_game_with_an_invalid_rule_is_a_game_over_texts(game: FiniteGame) -> Sides:
    """Whatever an agent says, the closed game answers with a distribution over (next state, reward, penalty, forfeit).

    All four rules and all kinds of outcomes: a valid text moves the game and costs nothing; an invalid one costs the
    penalty, and the game stands still, plays a default or a random legal action, or is forfeited. Probabilities sum
    to 1.

    Assumes: one agent acts. Source: arXiv:2508.10839 (the idea); the rules are reconstructed.
    """
    return _closed_sides(game, valid_texts_cost=0.0)


def _closed_sides(game: FiniteGame, *, valid_texts_cost: float) -> Sides:
    one: list[float] = []
    other: list[float] = []
    for rule, outcome in itertools.product(range(len(_RULES)), _OUTCOMES):
        dist = _closed_law(attrs.evolve(game, invalid_rule=_RULES[rule](_PENALTY)), outcome)
        defined = _defined_law(game, rule, outcome, valid_texts_cost)
        found, expected = _aligned(dist, defined)
        one += [*found, sum(dist.values())]
        other += [*expected, 1.0]
    return one, other


def _closed_law(game: FiniteGame, outcome: TextOutcome[str]) -> Mapping[Any, float]:
    """What the closed game does in state 0."""
    closed = ClosedGame(game)
    table = closed.transition_dist(closed.close(0), {"player": outcome}).pmf()
    dist: dict[Any, float] = defaultdict(float)
    for after, p in table.items():
        state = after.state
        key = (state.state, *after.rewards_N, *after.penalties_N, bool(state.forfeited))
        dist[key] += float(p) if state.last_N == (outcome.kind,) else 0.0
    return dist


def _defined_law(
    game: FiniteGame, rule: int, outcome: TextOutcome[str], valid_texts_cost: float
) -> Mapping[Any, float]:
    """The same by the definition of the rules, which are numbered as above."""
    valid = isinstance(outcome, Parsed)
    penalty = -valid_texts_cost if valid else -_PENALTY
    if not valid and rule in (0, 3):
        return {(0, 0.0, penalty, rule == 3): 1.0}
    played = {outcome.action: 1.0} if isinstance(outcome, Parsed) else {"a": 1.0}
    if not valid and rule == 2:
        played = {"a": 0.5, "b": 0.5}
    dist: dict[Any, float] = defaultdict(float)
    for action, share in played.items():
        for (state, (reward,)), p in game.moves[0][(action,)].enumerate():
            dist[state, reward, penalty, False] += share * float(p)
    return dist


# ---- the others fixed ------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class WithMemories:
    """The extended state of a game, and the past turns of all agents but the learner, who remembers for itself."""

    closed: ClosedState[Any]
    turns_N: tuple[tuple[Turn, ...], ...]


@final
@attrs.frozen(kw_only=True, eq=False)
class OthersFixed(AbstractExplicitGame[WithMemories, str]):
    """What a game is to one agent while the others keep their policies: a partially observable game of its own.

    Its actions are texts; the empty text stands for a reply in which none was found. Penalties of the game's own
    invalid rule are part of the reward. The learner gets no feedback.

    Attributes:
      game: what is played.
      others: the policies of all agents but one, the learner.
      texts: the texts that are listed as legal; ``None`` lists none.
      forgetful: whether the others forget their turns (a wrong implementation).
    """

    game: AbstractExplicitGame[Any, Any]
    others: Mapping[str, ExactPolicy]
    texts: tuple[str, ...] | None = None
    forgetful: bool = False
    agents: tuple[str, ...] = attrs.field(init=False)
    discount: float = attrs.field(init=False)
    horizon: int | None = attrs.field(init=False)
    invalid_rule: AbstractInvalidRule = attrs.field(init=False, default=PlayDefault(action=""))

    @agents.default
    def _learner(self) -> tuple[str, ...]:
        return tuple(agent for agent in self.game.agents if agent not in self.others)

    @discount.default
    def _discount(self) -> float:
        return self.game.discount

    @horizon.default
    def _horizon(self) -> int | None:
        return self.game.horizon

    def initial_state_dist(self) -> Distribution[WithMemories]:
        nothing: tuple[tuple[Turn, ...], ...] = ((),) * len(self.game.agents)
        dist = ClosedGame(self.game).initial_state_dist()
        return dist.map(lambda closed: WithMemories(closed=closed, turns_N=nothing))

    def is_terminal(self, state: WithMemories) -> bool:
        return ClosedGame(self.game).is_terminal(state.closed)

    def acting_agents(self, state: WithMemories) -> tuple[str, ...]:
        acting = self.game.acting_agents(state.closed.state)
        return tuple(agent for agent in acting if agent in self.agents)

    def legal_actions(self, state: WithMemories, agent: str) -> tuple[str, ...] | None:
        return self.texts

    def read_action(self, state: WithMemories, agent: str, text: str) -> TextOutcome[str]:
        return Parsed(text)

    def observation_text(self, state: WithMemories, agent: str) -> str:
        return self.game.observation_text(state.closed.state, agent)

    def action_text(self, state: WithMemories, agent: str, action: str) -> str:
        return action

    def transition_dist(
        self, state: WithMemories, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[WithMemories]]:
        acting = self.game.acting_agents(state.closed.state)
        asked = [self._request(state, agent) for agent in acting if agent in self.others]
        dists = [self.others[request.history.agent].reply_dist(request) for request in asked]
        return product(dists).bind(lambda said: self._answer(state, joint_action, asked, said))

    def _request(self, state: WithMemories, agent: str) -> Request:
        observation = Observation(
            text=self.game.observation_text(state.closed.state, agent),
            feedback=ClosedGame(self.game).feedback_text(state.closed, agent),
        )
        history = History(
            agent=agent,
            rules=self.game.rules_text(agent),
            turns=state.turns_N[self.game.agents.index(agent)],
            observation=observation,
        )
        return Request(history=history, key=_KEY, step=0, state=state.closed.state)

    def _answer(
        self,
        state: WithMemories,
        joint_action: Mapping[str, str],
        asked: Sequence[Request],
        said: Sequence[Reply],
    ) -> Distribution[Transition[WithMemories]]:
        """What follows the learner's text and the others' replies."""
        closed = ClosedGame(self.game)
        outcomes = {
            agent: closed.read(
                state.closed, agent, ActionText(text) if text else ParseFailure("no text")
            )
            for agent, text in joint_action.items()
        }
        told = dict(zip(self.game.agents, state.turns_N, strict=True))
        for request, reply in zip(asked, said, strict=True):
            agent, seen = request.history.agent, request.history.observation
            outcomes[agent] = closed.read(state.closed, agent, reply.parser_outcome)
            turn = Turn(observation=seen, reply=reply.text, kind=outcomes[agent].kind)
            told[agent] = () if self.forgetful else (*told[agent], turn)
        n = self.game.agents.index(self.agents[0])
        return closed.transition_dist(state.closed, outcomes).map(
            lambda after: Transition(
                WithMemories(closed=after.state, turns_N=tuple(told.values())),
                (after.rewards_N[n] + after.penalties_N[n],),
            )
        )


_COPYING_GAME = FiniteGame(
    agents=("one", "other"),
    starts=deterministic("go"),
    moves={
        "go": {
            (mine, yours): deterministic(Transition("go", (float(mine == yours), 0.0)))
            for mine, yours in itertools.product(WORDS, repeat=2)
        }
    },
    discount=0.5,
    horizon=2,
    invalid_rule=PlayDefault(action="a", penalty=0.25),
)
_COPYING = Case(
    game=_COPYING_GAME,
    policy=tabular_policy(
        WORDS,
        dists={
            "go": {"a": 0.5, "b": 0.375, "": 0.125},
            "go\na\ngo": {"a": 0.875, "b": 0.125},
            "go\nb\ngo": {"b": 1.0},
            "go\n\ngo": {"a": 0.25, "b": 0.75},
        },
        prompt=LAST_TURN,
    ),
)


def _remembering_case(game: FiniteGame, seed: int) -> Case:
    """All agents see their last turn."""
    return Case(game=game, policy=random_policy(game, WORDS, seed=seed, prompt=LAST_TURN))


def _memories_forgotten(case: Case) -> Sides:
    """The others forget their past turns, so that the state lacks their memories."""
    return _fixed_sides(case, forgetful=True)


@statement(
    routes=("lines of the game of all agents", "lines of the learner's own game"),
    example=_COPYING,
    cases=st.builds(_remembering_case, finite_games(agents=2, states=1), _SEEDS),
    wrong=_memories_forgotten,
)
def other_agents_that_are_fixed_leave_a_game_of_ones_own(case: Case) -> Sides:
    """With the others' policies fixed, an agent plays a partially observable game on states and their memories.

    What the agent reads, and its discounted return with penalties, have one distribution in the game of all agents,
    and in the game of this agent alone, whose state holds the others' past turns.

    Assumes: the others keep their policies; the invalid rule gives no feedback.
    Source: a standard fact; reconstructed for language agents (arXiv:2508.10839, the idea).
    """
    return _fixed_sides(case, forgetful=False)


def _fixed_sides(case: Case, *, forgetful: bool) -> Sides:
    learner, *others = case.game.agents
    alone = OthersFixed(
        game=case.game, others=dict.fromkeys(others, case.policy), forgetful=forgetful
    )
    together = trajectories(case.game, case.policy)
    return _aligned(
        _law_of_experience(together, learner),
        _law_of_experience(trajectories(alone, case.policy), learner),
    )


def _law_of_experience(found: Sequence[Trajectory], agent: str) -> Mapping[Any, float]:
    """The distribution of what the agent reads and of its return."""
    dist: dict[Any, float] = defaultdict(float)
    for trajectory in found:
        read = tuple(step.observation.text for step in trajectory.episode.agent_steps(agent))
        dist[read, round(trajectory.episode.episode_return(agent), 9)] += float(
            trajectory.probability
        )
    return dist
