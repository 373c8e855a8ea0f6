"""The game that one agent plays while the policies of the others are fixed."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import final

import attrs
from hypothesis import strategies as st

from proofs.exact.enumeration import ExactPolicy, Trajectory, trajectories
from proofs.small_games import WORDS, FiniteGame, State, finite_games, random_policy, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.by_hand import aligned
from proofs.statements.cases import LAST_TURN, SEEDS, Case
from tsmg import (
    AbstractExplicitGame,
    AbstractInvalidRule,
    ActionText,
    ClosedGame,
    ClosedState,
    Distribution,
    EpisodeKey,
    History,
    Observation,
    Parsed,
    ParseFailure,
    PlayDefault,
    Reply,
    Request,
    TextOutcome,
    Transition,
    Turn,
    deterministic,
    product,
)

_KEY = EpisodeKey(seed=0)
_Experience = tuple[tuple[str, ...], float]  # what an agent reads, and its return


@attrs.frozen(kw_only=True)
class WithMemories:
    """The extended state of a game, and the past turns of all agents but the learner."""

    closed: ClosedState[State]
    turns_N: tuple[tuple[Turn, ...], ...]


@final
@attrs.frozen(kw_only=True, eq=False)
class OthersFixed(AbstractExplicitGame[WithMemories, str]):
    """The partially observable game that one agent plays while the others keep their policies.

    Its actions are texts; the empty text stands for a reply without an action text. Penalties of the game's own
    invalid rule are part of the reward. The learner gets no feedback.

    Attributes:
      game: the game of all agents.
      others: the policies of all agents but one, the learner.
      texts: the texts that are listed as legal; ``None`` lists none.
      forgetful: whether the others forget their turns (a wrong implementation).
    """

    game: AbstractExplicitGame[State, str]
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
        return product(dists).bind(
            lambda replies: self._answer(state, joint_action, asked, replies)
        )

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
        replies: Sequence[Reply],
    ) -> Distribution[Transition[WithMemories]]:
        """The transition after the learner's text and the others' replies."""
        closed = ClosedGame(self.game)
        outcomes = {
            agent: closed.read(
                state.closed, agent, ActionText(text) if text else ParseFailure("no text")
            )
            for agent, text in joint_action.items()
        }
        turns = dict(zip(self.game.agents, state.turns_N, strict=True))
        for request, reply in zip(asked, replies, strict=True):
            agent, seen = request.history.agent, request.history.observation
            outcomes[agent] = closed.read(state.closed, agent, reply.parser_outcome)
            turn = Turn(observation=seen, reply=reply.text, kind=outcomes[agent].kind)
            turns[agent] = () if self.forgetful else (*turns[agent], turn)
        n = self.game.agents.index(self.agents[0])
        return closed.transition_dist(state.closed, outcomes).map(
            lambda after: Transition(
                WithMemories(closed=after.state, turns_N=tuple(turns.values())),
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
    routes=("trajectories of the game of all agents", "trajectories of the learner's own game"),
    example=_COPYING,
    cases=st.builds(_remembering_case, finite_games(agents=2, states=1), SEEDS),
    wrong=_memories_forgotten,
)
def other_agents_that_are_fixed_leave_a_game_of_ones_own(case: Case) -> Sides:
    """With the others' policies fixed, an agent plays a partially observable game on states and their memories.

    What the agent reads, and its discounted return with penalties, have one distribution in the game of all agents,
    and in the game of this agent alone, whose state holds the others' past turns.

    Assumes: the others keep their policies; the invalid rule gives no feedback.
    Source: a standard fact; reconstructed for language agents (arXiv:2508.10839, the idea).

    Theory: Theorem 4.1, Equation 4.2.
    """
    return _fixed_sides(case, forgetful=False)


def _fixed_sides(case: Case, *, forgetful: bool) -> Sides:
    learner, *others = case.game.agents
    alone = OthersFixed(
        game=case.game, others=dict.fromkeys(others, case.policy), forgetful=forgetful
    )
    together = trajectories(case.game, case.policy)
    return aligned(
        _experience_dist(together, learner),
        _experience_dist(trajectories(alone, case.policy), learner),
    )


def _experience_dist(played: Sequence[Trajectory], agent: str) -> Mapping[_Experience, float]:
    """The joint distribution of the observations and the return of an agent."""
    dist: dict[_Experience, float] = defaultdict(float)
    for trajectory in played:
        read = tuple(step.observation.text for step in trajectory.episode.agent_steps(agent))
        dist[read, round(trajectory.episode.episode_return(agent), 9)] += float(
            trajectory.probability
        )
    return dist
