"""PettingZoo environments as games.

They are sampled: an environment advances with the episode, and branches by a replay of the actions from the start.
The games of ``pettingzoo.classic`` have curated texts.
"""

import contextlib
import copy
import functools
import inspect
import types
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, final

import attrs
import pettingzoo

from games.adapters import chance, spaces
from games.adapters.actions import MOST_LISTED, Actions, name_actions
from games.adapters.classic import curated
from games.adapters.curated import Curated, RawEnv
from games.adapters.live import LiveGame, Success, readable
from games.adapters.multi_agent import ParallelDriver, TurnDriver, Zoo
from games.adapters.remaking import told
from games.adapters.zoo_registry import registered
from tsmg import Facts, Forfeit, InvalidArgumentError, PlayRandomLegal, StandStill
from tsmg.invalid import AbstractInvalidRule

Make = Callable[..., RawEnv]
TextOf = Callable[[str, Any], str]


@final
@attrs.frozen(kw_only=True, eq=False)
class _Options:
    """The arguments of ``from_pettingzoo`` beside the environment."""

    horizon: int | None
    action_names: Sequence[str] | Mapping[str, Sequence[str]] | None
    choices: Mapping[str, object] | None
    observation_text: TextOf | None
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None
    rules: str | None
    success: Success | None
    invalid_rule: AbstractInvalidRule | None
    rendering: bool
    fresh_chance: bool | None


def from_pettingzoo(
    env: str | types.ModuleType | RawEnv | Make,
    *,
    horizon: int | None = None,
    action_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    choices: Mapping[str, object] | None = None,
    observation_text: TextOf | None = None,
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    rules: str | None = None,
    success: Success | None = None,
    invalid_rule: AbstractInvalidRule | None = None,
    rendering: bool = True,
    fresh_chance: bool | None = None,
    **kwargs: object,
) -> LiveGame:
    """A PettingZoo environment as a game of its possible agents; it is sampled.

    Args:
      env: a registered id such as ``classic/chess_v6`` (AEC, where both kinds are registered); a function or
        class that makes an AEC or a Parallel environment; a module with such a function, ``env`` or
        ``parallel_env``; or an environment that can be copied.
      horizon: time limit H, in steps: of one agent in an AEC environment, of all agents in a Parallel one. Only
        curated environments have a default.
      action_names: names of the actions of a Discrete space, in order; the same for all agents, or by agent.
      choices: names of chosen actions, for spaces that text cannot name (a Box); the agents have only these.
      observation_text: function from an agent and its observation to its text. By default the curated text, the
        environment's ansi rendering, or the observation without the action mask, whichever exists first.
      labels: names of the numbers of an observation that is a vector, each of which then has a line of its own; the
        same for all agents, or by agent.
      rules: the rules that an agent reads, before the actions; by default the curated rules, or those that
        ``metadata["rules"]`` has for each agent, as in an exported game.
      success: the definition of success; by default there is none.
      invalid_rule: iota, which determines what follows an invalid text. By default an AEC environment stands still;
        in a Parallel one a random legal action is played for the offender, or the offender forfeits where actions are
        not listed.
      rendering: whether an ansi rendering may be read. All agents read the same one: pass False if it shows what an
        agent must not see.
      fresh_chance: whether chance is drawn anew at every step; by default if the environment is curated or keeps its
        generator as ``np_random``. Otherwise the seed of the reset fixes all chance, and the episodes of one start
        share it; a warning says so, unless False is passed.
      **kwargs: arguments of the function that makes the environment.

    Raises:
      MissingPackageError: the package of a known id is not installed.
      InvalidArgumentError: there is no such environment or no such argument; the environment cannot be made again or
        has no time limit; its actions cannot be named; a text of the first observation is over 4,000 characters; or
        fresh chance or the invalid rule is impossible. The message says what to pass.
    """
    options = _Options(
        horizon=horizon, action_names=action_names, choices=choices, observation_text=observation_text,
        labels=labels, rules=rules, success=success, invalid_rule=invalid_rule, rendering=rendering,
        fresh_chance=fresh_chance,
    )  # fmt: skip
    return _adapted(env, kwargs, options)


def _adapted(env: object, kwargs: Mapping[str, object], options: _Options) -> LiveGame:
    make, made = _made(env, kwargs)
    name = str(made.metadata.get("name") or type(made.unwrapped).__name__)
    known = curated(made.unwrapped)
    if known is None and options.observation_text is None and options.rendering:
        make, made = _rendered(make, made)
    ids = _ids(made, name)
    if options.labels is not None and options.observation_text is None:
        options = attrs.evolve(options, observation_text=_labelled(made, ids, name, options.labels))
    own_names = known is None or options.action_names is not None or options.choices is not None
    actions = {agent: _actions(made, agent, id, name, options) for agent, id in ids.items()}
    if known is not None and not own_names:
        actions = _curated_sentences(made, known, actions, are_ruled=options.rules is None)
    horizon = options.horizon
    if horizon is None and known is not None:
        horizon = known.horizon(made.unwrapped)
    if horizon is None:
        raise InvalidArgumentError(
            f"'horizon' must be given: PettingZoo defines no time limit for {name} (got None)"
        )
    renew = _renewal(made, name, known, options.fresh_chance)
    zoo = Zoo(
        make=make,
        name=name,
        ids=ids,
        actions=actions,
        observation_text=options.observation_text,
        curated_text=known.observation_text if known else None,
        action_text=None if own_names or known is None else known.action_text,
        rendering=options.rendering and getattr(made, "render_mode", None) == "ansi",
        prepare=known.prepare if known else None,
        renew=renew,
    )
    driver = ParallelDriver if isinstance(made, pettingzoo.ParallelEnv) else TurnDriver
    game = LiveGame(
        make_driver=functools.partial(driver, zoo),
        env_name=name,
        agents=tuple(ids),
        actions=actions,
        rules={agent: _rules(made, agent, known, options) for agent in ids},
        horizon=horizon,
        facts=known.facts(made.unwrapped) if known else Facts(),
        invalid_rule=_invalid_rule(made, actions, options.invalid_rule),
        fresh_chance=renew is not None,
        is_success=options.success,
    )
    readable(game)
    return game


def _curated_sentences(
    made: RawEnv, known: Curated, actions: Mapping[str, Actions], *, are_ruled: bool
) -> dict[str, Actions]:
    """The actions with the sentence that lists them by their curated texts, where the curated rules do not do so.

    There is none for a great many actions, such as those of chess: the legal ones stand in every observation.
    """
    if not are_ruled:
        made.reset(seed=0)

    def sentence(agent: str, of: Actions) -> str:
        if are_ruled or of.values is None or len(of.values) > MOST_LISTED:
            return ""
        texts = tuple(
            known.action_text(made.unwrapped, agent, action)
            for action in of.values
            if isinstance(action, int)
        )
        return of._replace(texts=texts).sentence_text()

    return {agent: of._replace(sentence=sentence(agent, of)) for agent, of in actions.items()}


def _rules(made: RawEnv, agent: str, known: Curated | None, options: _Options) -> str:
    """The rules that an agent reads."""
    if known is not None and options.rules is None:
        return known.rules(made.unwrapped, agent)
    carried = made.metadata.get("rules")
    if (
        options.rules is None
        and isinstance(carried, Mapping)
        and isinstance(carried.get(agent), str)
    ):
        return str(carried[agent])  # as an exported game has them
    return f"You are {agent}. {options.rules or ''}".strip()


# ---- how an environment is made, again and again -------------------------------------------------


def _maker(env: object, kwargs: Mapping[str, object]) -> Make:
    if isinstance(env, types.ModuleType):
        env = getattr(env, "env", None) or getattr(env, "parallel_env", None)
    if isinstance(env, pettingzoo.AECEnv | pettingzoo.ParallelEnv):
        return _copier(env, kwargs)
    if callable(env):
        return functools.partial(env, **kwargs)
    if not isinstance(env, str):
        raise InvalidArgumentError(
            "'env' must be an id, a function that makes a PettingZoo environment, or a module with such a function "
            f"(got {env!r})"
        )
    return registered(env, kwargs)


def _made(env: object, kwargs: Mapping[str, object]) -> tuple[Make, RawEnv]:
    """The maker and one environment, without a warning about rounded bounds, which would come with every episode."""
    maker = _maker(env, kwargs)

    def make(**kwargs: object) -> RawEnv:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*precision lowered by casting")
            return maker(**kwargs)

    make = functools.wraps(maker, assigned=())(make)
    # what a function raises without arguments of ours is its author's to read
    with told(env, kwargs) if isinstance(env, str) or kwargs else contextlib.nullcontext():
        made = make()
    if not isinstance(made, pettingzoo.AECEnv | pettingzoo.ParallelEnv):
        raise InvalidArgumentError(
            f"'env' must make a PettingZoo environment (got {made!r} of {env!r})"
        )
    return make, made


def _copier(env: RawEnv, kwargs: Mapping[str, object]) -> Make:
    """A function that copies an environment which the caller made.

    Raises:
      InvalidArgumentError: it cannot be copied.
    """
    if kwargs:
        raise InvalidArgumentError("'kwargs' must be empty where 'env' is an environment")
    try:
        unused = copy.deepcopy(env)
    except (TypeError, AttributeError, NotImplementedError, RecursionError) as error:
        raise InvalidArgumentError(
            f"'env' must be a function that makes the environment, since replays need a fresh one and this one cannot "
            f"be copied (got {env!r}): {error}"
        ) from error
    return functools.partial(copy.deepcopy, unused)


def _rendered(make: Make, made: RawEnv) -> tuple[Make, RawEnv]:
    """The environment with its ansi rendering, if it has one and takes the argument that asks for it."""
    modes = made.metadata.get("render_modes", ())
    if "ansi" not in modes or getattr(made, "render_mode", None) is not None:
        return make, made
    parameters = inspect.signature(make).parameters.values()
    if not any(p.name == "render_mode" or p.kind is p.VAR_KEYWORD for p in parameters):
        return make, made
    rendered = functools.partial(make, render_mode="ansi")
    return rendered, rendered()


def _invalid_rule(
    made: RawEnv, actions: Mapping[str, Actions], given: AbstractInvalidRule | None
) -> AbstractInvalidRule:
    """The given rule, or one that works where several agents may act at once.

    Raises:
      InvalidArgumentError: the given rule needs an action that does nothing, which no environment declares.
    """
    if not isinstance(made, pettingzoo.ParallelEnv):
        return given or StandStill()
    if isinstance(given, StandStill) and len(actions) > 1:
        raise InvalidArgumentError(
            "'invalid_rule' must not be StandStill where agents act at once, since no action is known that does "
            f"nothing (got {given!r}): pass tsmg.PlayDefault(action=...) or tsmg.PlayRandomLegal()"
        )
    is_listed = all(of.values is not None for of in actions.values())
    return given or (PlayRandomLegal() if is_listed else Forfeit())


# ---- agents, actions and chance --------------------------------------------------------------------


def _ids(made: RawEnv, name: str) -> dict[str, Hashable]:
    """The environment's own id of each agent, by the agent's name."""
    possible = getattr(made, "possible_agents", None)
    if not possible:
        raise InvalidArgumentError(
            f"'env' must list its agents as 'possible_agents', in a fixed order (got none for {name})"
        )
    ids = {str(id): id for id in possible}
    if len(ids) != len(possible):
        raise InvalidArgumentError(f"'possible_agents' must have different names (got {possible})")
    return ids


def _actions(made: RawEnv, agent: str, id: Hashable, name: str, options: _Options) -> Actions:
    names = options.action_names
    own = names.get(agent) if isinstance(names, Mapping) else names
    return name_actions(
        made.action_space(id),
        of=f"{agent} in {name}",
        names=tuple(own) if own is not None else None,
        choices=options.choices,
    )


def _labelled(
    made: RawEnv,
    ids: Mapping[str, Hashable],
    name: str,
    labels: Sequence[str] | Mapping[str, Sequence[str]],
) -> TextOf:
    """The writer of observations that are vectors, with a name for each number."""
    own = labels if isinstance(labels, Mapping) else dict.fromkeys(ids, labels)
    writers = {
        agent: spaces.labelled(
            made.observation_space(id), tuple(own.get(agent, ())), f"{agent} in {name}"
        )
        for agent, id in ids.items()
    }
    return lambda agent, observation: writers[agent](observation)


def _renewal(
    made: RawEnv, name: str, known: Curated | None, wanted: bool | None
) -> Callable[[RawEnv, int], None] | None:
    """The function that gives the environment fresh chance at every step; ``None`` if nothing does or should."""
    if wanted is False:
        return None
    if known is not None and (known.renew or not wanted):
        return known.renew
    made.reset(seed=0)
    if chance.is_generator(getattr(made.unwrapped, "np_random", None)):
        return lambda raw, seed: chance.renew(raw.np_random, seed)
    if wanted:
        raise InvalidArgumentError(
            f"'fresh_chance' must not be True: {name} keeps no generator as 'np_random' (got True)"
        )
    warnings.warn(
        f"{name} keeps no generator as 'np_random': its chance, if it has any, is fixed by the seed of the reset, so "
        "that episodes of one start share it; pass fresh_chance=False if that is intended",
        stacklevel=4,
    )
    return None
