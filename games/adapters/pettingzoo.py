"""PettingZoo environments as games.

They are sampled: moved along as the episode goes, and branched by a replay of the actions from the start. The games
of ``pettingzoo.classic`` bring curated texts along.
"""

import copy
import functools
import inspect
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pettingzoo
from pettingzoo.env_registry.exceptions import PettingZooRegistryError

from games.adapters import chance
from games.adapters.classic import curated
from games.adapters.curated import Curated
from games.adapters.live import Actions, LiveGame, name_actions, readable
from games.adapters.multi_agent import ParallelDriver, TurnDriver, Zoo
from tsmg import Facts, InvalidArgumentError

Make = Callable[..., Any]
TextOf = Callable[[str, Any], str]


def from_pettingzoo(
    env: Any,
    *,
    horizon: int | None = None,
    action_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    choices: Mapping[str, Any] | None = None,
    observation_text: TextOf | None = None,
    rules: str | None = None,
    rendering: bool = True,
    fresh_chance: bool | None = None,
    **kwargs: Any,
) -> LiveGame:
    """A PettingZoo environment as a game of its possible agents.

    Args:
      env: a registered id such as ``classic/chess_v6`` (in turn, where both kinds are registered); a function or
        class that makes an AEC or a Parallel environment; a module with such a function, ``env`` or
        ``parallel_env``; or an environment of which copies can be made.
      horizon: time limit H, in steps: one agent's in an AEC environment, all agents' in a Parallel one. Only curated
        environments have one of their own.
      action_names: names of the actions of a Discrete space, in order; the same for all agents, or by agent.
      choices: names of chosen actions, for spaces that text cannot name (a Box): the agents have these alone.
      observation_text: from an agent and its observation to its text. Unless given, it is the curated one, the
        environment's ansi rendering, or its observation less the mask of actions, whatever comes first.
      rules: what a newcomer must be told; the curated rules unless given. The actions are listed after it.
      rendering: whether an ansi rendering may be read. All agents read the same one: pass False where it shows what
        an agent must not see.
      fresh_chance: whether chance is drawn anew at every step, as it is where the environment keeps its generator as
        ``np_random`` or is curated. Otherwise the seed of the reset fixes all chance, and episodes of one start share
        it; a warning says so, unless False is passed.
      **kwargs: arguments of the function that makes the environment.

    Returns:
      A sampled game; ``fresh_chance`` is one of its attributes.

    Raises:
      InvalidArgumentError: the environment cannot be made again or has no time limit; its actions cannot be named; a
        text of the first observation is over 4,000 characters; or fresh chance was asked for and cannot be had. The
        message says what to pass.
    """
    make = _quiet(_maker(env, kwargs))
    made = _checked(make(), env)
    name = str(made.metadata.get("name") or type(made.unwrapped).__name__)
    known = curated(made.unwrapped)
    if known is None and observation_text is None and rendering:
        make, made = _rendered(make, made)
    ids = _ids(made, name)
    own_names = known is None or action_names is not None or choices is not None
    actions = {
        agent: _actions(made.action_space(id), agent, name, action_names, choices)
        for agent, id in ids.items()
    }
    if not own_names:
        actions = {agent: of._replace(sentence="") for agent, of in actions.items()}
    renew = _renewal(made, name, known, fresh_chance)
    zoo = Zoo(
        make=make,
        name=name,
        ids=ids,
        actions=actions,
        observation_text=observation_text,
        curated_text=known.observation_text if known else None,
        action_text=None if own_names or known is None else known.action_text,
        rendering=rendering and getattr(made, "render_mode", None) == "ansi",
        prepare=known.prepare if known else None,
        renew=renew,
    )
    is_parallel = isinstance(made, pettingzoo.ParallelEnv)
    game = LiveGame(
        make_driver=functools.partial(ParallelDriver if is_parallel else TurnDriver, zoo),
        env_name=name,
        agents=tuple(ids),
        actions=actions,
        rules={agent: _rules(made, id, known, rules) for agent, id in ids.items()},
        horizon=_horizon(horizon, name, made, known),
        facts=known.facts(made.unwrapped) if known else Facts(),
        fresh_chance=renew is not None,
    )
    readable(game)
    return game


# ---- how an environment is made, again and again -------------------------------------------------


def _maker(env: Any, kwargs: Mapping[str, Any]) -> Make:
    if isinstance(env, str):
        return _registered(env, kwargs)
    if isinstance(env, types.ModuleType):
        env = getattr(env, "env", None) or getattr(env, "parallel_env", None)
    if isinstance(env, pettingzoo.AECEnv | pettingzoo.ParallelEnv):
        return _copier(env, kwargs)
    if not callable(env):
        raise InvalidArgumentError(
            "'env' must be an id, a function that makes a PettingZoo environment, or a module with such a function "
            f"(got {env!r})"
        )
    return functools.partial(env, **kwargs)


def _registered(id: str, kwargs: Mapping[str, Any]) -> Make:
    for kind, registry in (
        ("aec", pettingzoo.aec_registry),
        ("parallel", pettingzoo.parallel_registry),
    ):
        try:
            spec = pettingzoo.spec(kind, id)
        except PettingZooRegistryError:
            continue
        if spec.id in registry:
            return functools.partial(pettingzoo.make, kind, spec.id, **kwargs)
    raise InvalidArgumentError(
        f"'env' must be a registered id such as 'classic/tictactoe_v3' (got {id!r})"
    )


def _copier(env: Any, kwargs: Mapping[str, Any]) -> Make:
    """A function that copies an environment that somebody made.

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


def _quiet(make: Make) -> Make:
    """Made without a note about rounded bounds of spaces, which would come with every episode."""

    def made(**kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*precision lowered by casting")
            return make(**kwargs)

    return functools.wraps(make, assigned=())(made)


def _checked(made: Any, env: Any) -> Any:
    if isinstance(made, pettingzoo.AECEnv | pettingzoo.ParallelEnv):
        return made
    raise InvalidArgumentError(
        f"'env' must make a PettingZoo environment (got {made!r} of {env!r})"
    )


def _rendered(make: Make, made: Any) -> tuple[Make, Any]:
    """The environment with its ansi rendering, if it has one and takes the argument that asks for it."""
    modes = made.metadata.get("render_modes", ())
    if "ansi" not in modes or getattr(made, "render_mode", None) is not None:
        return make, made
    parameters = inspect.signature(make).parameters.values()
    if not any(p.name == "render_mode" or p.kind is p.VAR_KEYWORD for p in parameters):
        return make, made
    rendered = functools.partial(make, render_mode="ansi")
    return rendered, rendered()


# ---- what it is made of ----------------------------------------------------------------------------


def _ids(made: Any, name: str) -> dict[str, Any]:
    possible = getattr(made, "possible_agents", None)
    if not possible:
        raise InvalidArgumentError(
            f"'env' must list its agents as 'possible_agents', in an order that stays (got none for {name})"
        )
    ids = {str(id): id for id in possible}
    if len(ids) != len(possible):
        raise InvalidArgumentError(f"'possible_agents' must have different names (got {possible})")
    return ids


def _actions(
    space: Any,
    agent: str,
    name: str,
    names: Sequence[str] | Mapping[str, Sequence[str]] | None,
    choices: Mapping[str, Any] | None,
) -> Actions:
    own = names.get(agent) if isinstance(names, Mapping) else names
    return name_actions(
        space,
        of=f"{agent} in {name}",
        names=tuple(own) if own is not None else None,
        choices=choices,
    )


def _renewal(
    made: Any, name: str, known: Curated | None, wanted: bool | None
) -> Callable[[Any, int], None] | None:
    """What gives the environment fresh chance at every step; ``None`` where nothing does or should."""
    if wanted is False:
        return None
    if known is not None and (known.renew or not wanted):
        return known.renew
    made.reset(seed=0)
    if chance.is_generator(getattr(made.unwrapped, "np_random", None)):
        return _renew_np_random
    if wanted:
        raise InvalidArgumentError(
            f"'fresh_chance' must not be True: {name} keeps no generator as 'np_random' (got True)"
        )
    warnings.warn(
        f"{name} keeps no generator as 'np_random': its chance, if it has any, is fixed by the seed of the reset, so "
        "that episodes of one start share it; pass fresh_chance=False if that is as it should be",
        stacklevel=3,
    )
    return None


def _renew_np_random(raw: Any, seed: int) -> None:
    chance.renew(raw.np_random, seed)


def _rules(made: Any, id: Any, known: Curated | None, rules: str | None) -> str:
    if known is not None and rules is None:
        return known.rules(made.unwrapped, id)
    return f"You are {id}. {rules or ''}".strip()


def _horizon(horizon: int | None, name: str, made: Any, known: Curated | None) -> int:
    if horizon is not None:
        return horizon
    if known is None:
        raise InvalidArgumentError(
            f"'horizon' must be given: PettingZoo knows no time limit of {name} (got None)"
        )
    return known.horizon(made.unwrapped)
