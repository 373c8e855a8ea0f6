"""A run as a value: which game, which policy, which settings, which seed.

The command line, experiment files, resumed runs, comparisons and the Python API all describe a run by a ``RunSpec``. It
is plain data with a JSON round trip, and ``build`` makes the objects that it names; nothing slow is imported before.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs

from algorithms.method.config import MSGRPOConfig
from algorithms.method.settings import option, within
from algorithms.runs.schema import SCHEMA_VERSION
from algorithms.training.config import RunConfig
from algorithms.training.engines import STALENESS_NEEDS_ENGINE, check_engine
from algorithms.training.game_spec import Game, GameSpec
from algorithms.training.opponents import (
    check_constrained,
    check_opponent,
    make_matchups,
)
from algorithms.training.own_rules import check_rules
from algorithms.training.parts import RunParts as RunParts  # noqa: PLC0414 - found here, too
from algorithms.training.plain_data import (
    from_plain,
    plain_table,
    read_settings,
    texts_by_name,
    to_plain,
)
from algorithms.training.policy_spec import PolicySpec, Progress
from tsmg import InvalidArgumentError


@final
@attrs.frozen(kw_only=True)
class RunSpec:
    """Everything that determines a run, except the versions of the software.

    Attributes:
      game: which game is played.
      policy: which policy training starts from.
      algorithm: the settings of the method; its seed is the seed of the run.
      run: when the policy is evaluated and saved.
      opponent, role: who plays against or with a learning agent, and which agent that is.
      engine, engine_folder, engine_timeout: where episodes are played, if not here, and how weights get there.
      threads: CPU threads; another number rounds sums differently.
      labels: what the run is called in reports (title, scenario, arm); no part of what it computes.

    Example:
      >>> spec = RunSpec(game=GameSpec(id="KuhnPoker-v0", held_out=0.0))
      >>> RunSpec.from_json(spec.to_json()) == spec
      True
    """

    game: GameSpec = GameSpec()
    policy: PolicySpec = PolicySpec()
    algorithm: MSGRPOConfig = MSGRPOConfig()
    run: RunConfig = RunConfig()
    opponent: str = option(
        "self",
        "who plays the other agents: self (all agents learn), past (earlier copies), scripted (the game's "
        "own player), uniform, the folder of a saved policy, or an endpoint as URL#model",
    )
    role: str | None = option(
        None, "the agent that learns against an opponent; each in turn if unset"
    )
    engine: str | None = option(
        None,
        "play on an inference server (vLLM) that serves the checkpoint, as URL or URL#MODEL, several separated by "
        "commas; unset: play here",
    )
    engine_folder: str | None = option(
        None,
        "folder of this run alone in which the servers of --engine can read new weights; a temporary one if unset",
    )
    engine_timeout: float = option(
        300.0,
        "seconds within which a server of --engine answers, at most a day",
        within(0.0, 86_400.0, above=True),
    )
    threads: int = option(2, "CPU threads", within(1))
    labels: Mapping[str, str] = attrs.field(
        factory=dict,
        converter=plain_table,
        validator=texts_by_name,
        metadata={"help": "what the run is called in reports: title, scenario, arm"},
    )

    @property
    def title(self) -> str:
        """The label of that name; else the game and the model."""
        model = Path(self.policy.model).name if self.policy.model else "behaviour-cloned model"
        return self.labels.get("title", f"{self.game.id}, {model}")

    def games(self) -> tuple[Game, Game]:
        """The game that is trained on (with the scripted player that is cloned), and the game that is evaluated on.

        Raises:
          InvalidArgumentError: no such game, or settings that it refuses.
        """
        game = self.game.build()
        return self.game.split(self.policy.cloned_game(game))[0], self.game.split(game)[1]

    def check(self, *, resumes: bool = False) -> None:
        """Refuse what can be refused without loading a model.

        Args:
          resumes: whether the policy is saved already, so that its checkpoint need not be there any more.

        Raises:
          InvalidArgumentError: no such game, rule, checkpoint, opponent or role, or settings that do not fit together.
        """
        game, config, policy = self.game.build(), self.algorithm, self.policy
        model, constrained = policy.model, policy.constrained
        check_rules(config, game, learners=len(game.agents) if self.opponent == "self" else 1)
        self.game.split(game)  # refuses a part without starts
        check_opponent(game, self.opponent, self.role)
        if constrained:
            check_constrained(game, config)
        if self.engine is not None:
            check_engine(self.engine, model=model, constrained=constrained, config=config)
        elif self.engine_folder is not None:
            raise InvalidArgumentError("'engine_folder' needs 'engine'")
        elif config.max_staleness:
            raise InvalidArgumentError(STALENESS_NEEDS_ENGINE)
        if config.gae == "subgoal" and not policy.subgoals:
            raise InvalidArgumentError(
                "'gae' 'subgoal' (of the method 'hiper') gives credit to the parts of replies that keep or switch a "
                "subgoal: choose 'subgoals', too"
            )
        if not resumes:
            policy.check(game, trains=True)

    def build(self, *, report: Progress | None = None, saved: str | Path | None = None) -> RunParts:
        """The objects of the run; sets the number of CPU threads that torch uses.

        Args:
          report: called while a behaviour-cloned model is made.
          saved: the folder of the policy that training starts from, if it was saved before.

        Raises:
          InvalidArgumentError: the spec names no such game or player, or settings do not fit together.
          ModelError: there is no such checkpoint, it cannot be loaded, or an engine does not serve it.
        """
        import torch

        from algorithms.training.learner import reply_sampling
        from lap.remote.client import Address
        from lap.remote.connect import connect, on_engines

        self.check(resumes=saved is not None)
        torch.set_num_threads(self.threads)
        addresses = Address.parse_all(self.engine) if self.engine else ()
        fleet = connect(addresses, timeout=self.engine_timeout) if addresses else None
        training_game, evaluation_game = self.games()
        constrained = self.policy.constrained
        policy = self.policy.build(
            training_game, seed=self.algorithm.seed, report=report, saved=saved
        ).with_sampling(reply_sampling(self.algorithm))  # past copies of it keep this
        if fleet is not None:
            policy = on_engines(policy, fleet, folder=self.engine_folder)
        return RunParts(
            training_game=training_game,
            evaluation_game=evaluation_game,
            policy=policy,
            matchups=make_matchups(
                self.game.build(), policy, self.opponent, self.role, constrained=constrained
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """The spec as plain data, with the version of its schema."""
        plain: Any = to_plain(self)
        return {"schema_version": SCHEMA_VERSION, **plain}

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], *, source: str = "the run specification"
    ) -> "RunSpec":
        """The spec that ``to_json`` returned, or that a person wrote; missing keys have their defaults.

        Args:
          data: plain data, as read from JSON or TOML.
          source: where it comes from, for messages.

        Raises:
          InvalidArgumentError: it is of a newer schema, a key is unknown (the message names the key, its section and
            the nearest known one), or a value breaks its rule.
        """
        version = data.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION or isinstance(version, bool):
            is_newer = type(version) is int and version > SCHEMA_VERSION
            origin = "a newer tsmg wrote it" if is_newer else "it is unknown"
            raise InvalidArgumentError(
                f"{source}: 'schema_version' must be {SCHEMA_VERSION} (got {version!r}); {origin}"
            )
        settings = {name: value for name, value in data.items() if name != "schema_version"}
        spec = from_plain(cls, settings, source=source)
        policy = spec.policy.seeded(data.get("policy", {}), spec.algorithm.seed)
        return attrs.evolve(spec, policy=policy)


def read_spec(file: str | Path) -> RunSpec:
    """The spec in a TOML or JSON file.

    Raises:
      InvalidArgumentError: the file cannot be read, or is no spec; the message names file, section and key.
    """
    return RunSpec.from_json(read_settings(file), source=repr(str(file)))
