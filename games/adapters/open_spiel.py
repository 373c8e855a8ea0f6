"""OpenSpiel games as games.

An OpenSpiel state can be copied, so these games are explicit. A state is a decision or terminal node of the game's
tree, identified by its history. Chance nodes are not states: the distribution of a transition extends over
all chance nodes that follow, and the distribution of the start over those at the root.
"""

import importlib
import math
from types import ModuleType

import attrs

from games.adapters.live import Success, nearest, readable
from games.adapters.open_spiel_game import OpenSpielGame, Source, SpielGame, SpielState, TextOf
from games.adapters.open_spiel_wording import Wording, wording_of
from tsmg import Facts, InvalidArgumentError, MissingPackageError, Stream
from tsmg.invalid import AbstractInvalidRule, Forfeit

_BETTER_SEEN = ("battleship", "kriegspiel", "solitaire")
"""Games whose information state is a log of moves, while the observation shows a board."""
_PAID_APART = ("repeated_leduc_poker",)
"""Zero-sum games that pay one player at one step and the other at the next."""


def from_open_spiel(
    game: str | SpielGame,
    *,
    horizon: int | None = None,
    text: Source | None = None,
    observation_text: TextOf | None = None,
    rules: str | None = None,
    success: Success | None = None,
    invalid_rule: AbstractInvalidRule | None = None,
    **parameters: object,
) -> OpenSpielGame:
    """An OpenSpiel game as an explicit game of the agents ``player_0``, ``player_1``, ...

    Args:
      game: a name such as ``"kuhn_poker"``, with or without parameters (``"kuhn_poker(players=3)"``), or a
        ``pyspiel.Game``.
      horizon: time limit H, in steps; by default OpenSpiel's longest game.
      text: which of OpenSpiel's strings an agent reads: the present ``"observation"``, or the ``"information"``
        state, which includes what the player remembers. By default the information state if information is imperfect
        and the game has one, otherwise the observation.
      observation_text: function from an OpenSpiel state (which it must not change) and a player's number to the
        text that replaces OpenSpiel's own.
      rules: the rules that an agent reads; by default those of ``games.adapters.open_spiel_wording``, if it has the
        game, with a legend of its text.
      success: the definition of success; by default there is none.
      invalid_rule: iota, which determines what follows an invalid text; by default the agent forfeits, with a penalty
        equal to the greatest possible loss and at least 1.
      **parameters: parameters of the game.

    Raises:
      MissingPackageError: OpenSpiel is not installed.
      InvalidArgumentError: OpenSpiel has no such game; it is a mean-field game, or draws chance internally; it has no
        such string, or one of over 4,000 characters. The message says what to pass, if that helps.

    Example:
      >>> poker = from_open_spiel("kuhn_poker")
      >>> len(poker.initial_state_dist().support())
      6
    """
    try:
        library = importlib.import_module("pyspiel")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "from_open_spiel needs OpenSpiel, an optional package: pip install 'tsmg[open-spiel]'"
        ) from error
    spiel = _loaded(library, game, parameters)
    loss = -float(spiel.min_utility())
    made = _worded(library, spiel, text, observation_text, rules)
    return _checked(
        library,
        attrs.evolve(
            made,
            horizon=spiel.max_game_length() if horizon is None else horizon,
            invalid_rule=invalid_rule
            or Forfeit(penalty=max(1.0, loss) if math.isfinite(loss) else 1.0),
            is_success=success,
        ),
    )


def _loaded(library: ModuleType, game: str | SpielGame, parameters: dict[str, object]) -> SpielGame:
    """The ``pyspiel.Game``, of a kind that can be adapted."""
    if isinstance(game, library.Game):
        if parameters:
            raise InvalidArgumentError(
                f"'parameters' must be empty where 'game' is made already (got {parameters})"
            )
        spiel = game
    else:
        short = str(game).partition("(")[0]
        if short.startswith("python_"):
            importlib.import_module("open_spiel.python.games")  # registers them
        if short not in library.registered_names():
            raise InvalidArgumentError(
                f"'game' must be a game of OpenSpiel or its name (got {game!r})"
                f"{nearest(short, library.registered_names())}"
            )
        try:
            spiel = library.load_game(game, parameters) if parameters else library.load_game(game)
        except (RuntimeError, LookupError, TypeError, ValueError) as error:  # SpielError among them
            raise InvalidArgumentError(
                f"'parameters' must be those of {short!r} (got {game!r}, {parameters}): {error}"
            ) from error
    kind = library.GameType
    if spiel.get_type().dynamics == kind.Dynamics.MEAN_FIELD:
        raise InvalidArgumentError(
            f"'game' must have finitely many players: a mean-field game depends on the distribution of a whole "
            f"population (got {spiel})"
        )
    if spiel.get_type().chance_mode == kind.ChanceMode.SAMPLED_STOCHASTIC:
        raise InvalidArgumentError(
            f"'game' must state its chance: this one draws it inside OpenSpiel, from a generator that no seed of "
            f"ours reaches (got {spiel})"
        )
    return spiel


def _worded(
    library: ModuleType,
    spiel: SpielGame,
    text: Source | None,
    observation_text: TextOf | None,
    rules: str | None,
) -> OpenSpielGame:
    """The game with its texts, rules and facts."""
    source = _source(library, spiel, text, observation_text)
    wording = wording_of(spiel.get_type().short_name, spiel.get_parameters())
    if wording is not None and (
        observation_text is not None or source != _source(library, spiel, None, None)
    ):
        wording = wording._replace(legend={}, text=())  # they are made for the usual text
    return OpenSpielGame(
        spiel=spiel,
        source=source,
        own_text=observation_text,
        rules=_rules(library, spiel, wording) if rules is None else rules,
        wording=wording,
        horizon=spiel.max_game_length(),
        facts=_facts(library, spiel, with_own_text=observation_text is not None),
    )


def _checked(library: ModuleType, game: OpenSpielGame) -> OpenSpielGame:
    """The game, once its first legal actions and texts were read."""
    try:
        state = game.sample_initial_state(Stream("probe"))
        for agent in game.agents:
            game.legal_actions(state, agent)
            game.observation_text(state, agent)
    except library.SpielError as error:
        raise InvalidArgumentError(
            f"'game' must give legal actions and texts by OpenSpiel's common interface (got {game.name}): {error}"
        ) from error
    readable(game)
    return game


def _rules(library: ModuleType, spiel: SpielGame, wording: Wording | None) -> str:
    """The rules and the legend of a game that has a wording, and the payoffs of a matrix game; else nothing."""
    if wording is None:
        return ""
    rules = wording.rules_text(spiel.get_parameters())
    if not isinstance(spiel, library.MatrixGame):
        return rules
    payoffs = [
        f"{spiel.row_action_name(i)} and {spiel.col_action_name(j)}: {row:g} and {column:g}"
        for i, (rows, columns) in enumerate(
            zip(spiel.row_utilities(), spiel.col_utilities(), strict=True)
        )
        for j, (row, column) in enumerate(zip(rows, columns, strict=True))
    ]
    return f"{rules} Choices and pay, of player_0 and of player_1: {'; '.join(payoffs)}."


def _source(
    library: ModuleType, spiel: SpielGame, text: Source | None, observation_text: TextOf | None
) -> Source:
    """Which of OpenSpiel's strings is shown."""
    kind = spiel.get_type()
    provided: dict[Source, bool] = {
        "observation": kind.provides_observation_string,
        "information": kind.provides_information_state_string,
    }
    if text is not None and not provided.get(text):
        names = [name for name, is_there in provided.items() if is_there]
        raise InvalidArgumentError(f"'text' must be one that {spiel} has: {names} (got {text!r})")
    if not any(provided.values()) and observation_text is None:
        raise InvalidArgumentError(
            f"'observation_text' must be given: {spiel} has no texts (got None)"
        )
    hidden = kind.information == library.GameType.Information.IMPERFECT_INFORMATION
    remembered = hidden and kind.short_name not in _BETTER_SEEN and provided["information"]
    return text or ("information" if remembered or not provided["observation"] else "observation")


def _facts(library: ModuleType, spiel: SpielGame, *, with_own_text: bool) -> Facts:
    """OpenSpiel's facts, as far as they are sure; ``None`` if its value is a default or an upper bound."""
    kind, types = spiel.get_type(), library.GameType
    bounds = float(spiel.min_utility()), float(spiel.max_utility())
    hides = kind.information == types.Information.IMPERFECT_INFORMATION
    is_zero_sum = kind.utility == types.Utility.ZERO_SUM and kind.short_name not in _PAID_APART
    return Facts(
        zero_sum=is_zero_sum or None,
        # Never True: states are histories, and a board does not show how it was reached.
        perfect_information=False if hides and not with_own_text else None,
        stochastic_start=_branches(spiel.new_initial_state()),
        stochastic_transitions=(
            False if kind.chance_mode == types.ChanceMode.DETERMINISTIC else None
        ),
        return_bounds=bounds if all(map(math.isfinite, bounds)) else None,
        longest_game=spiel.max_game_length(),
    )


def _branches(node: SpielState) -> bool:
    """Whether chance at a node, or at those that follow before any agent acts, has more than one outcome."""
    while node.is_chance_node():
        outcomes = [action for action, p in node.chance_outcomes() if p]
        if len(outcomes) > 1:
            return True
        node = node.child(outcomes[0])
    return False
