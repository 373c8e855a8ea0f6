"""The declaration of an experiment: a TOML file, read into values that are checked field by field."""

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import attrs

from algorithms.method.config import MSGRPOConfig
from algorithms.runs.writer import finite
from algorithms.training.config import RunConfig
from tsmg import InvalidArgumentError

Kind = Literal["train", "evaluate"]
Player = Literal["scripted", "optimal"]
MEASURES = ("area", "until", "final")
T = TypeVar("T")
_MOST_RUNS = 10_000
# Of CloningConfig, which needs torch: what an experiment may change. Its own class checks the values.
_RECIPE = (
    "width",
    "layers",
    "heads",
    "inner",
    "vocabulary",
    "context",
    "episodes",
    "steps",
    "batch",
    "learning_rate",
)


@attrs.frozen(kw_only=True)
class Scenario:
    """A game with its arguments.

    Attributes:
      name: in folders and tables.
      game: id of a registered game, or ``module:callable``.
      settings: its arguments.
      horizon: time limit in steps; the game's own if ``None``.
      held_out: share of the starts that is held out for evaluation; 0 for none.
      algorithm: what differs here from the experiment's algorithm, for every arm.
      trained_on: the scenario whose policies are evaluated here, seed for seed: transfer. ``None``: its own.
      factor: how long its episodes and updates take, in those of the first scenario, for the estimate.
    """

    name: str
    game: str
    settings: Mapping[str, Any]
    horizon: int | None
    held_out: float
    algorithm: Mapping[str, Any]
    trained_on: str | None
    factor: float


@attrs.frozen(kw_only=True)
class Arm:
    """One way to make a policy.

    Attributes:
      name: in folders and tables.
      note: what it is for.
      kind: ``train``: train, then evaluate; ``evaluate``: evaluate as it is.
      runs: how many seeds.
      algorithm: what differs from the experiment's algorithm.
      recipe: what differs from the usual behaviour-cloned model.
      model: a checkpoint instead of a behaviour-cloned model, or ``None``.
      player: whose play the behaviour-cloned model is cloned from.
      player_settings: what differs from the game's own player.
      decoding: temperatures to choose among on other episodes; empty: the training temperature.
      scenarios: where it is run; empty: everywhere.
      cloning_seconds: what making the model takes, for the estimate; in s.
      factor: how long its episodes and updates take, in those of the first arm, for the estimate.
    """

    name: str
    note: str
    kind: Kind
    runs: int
    algorithm: Mapping[str, Any]
    recipe: Mapping[str, Any]
    model: str | None
    player: Player
    player_settings: Mapping[str, Any]
    decoding: tuple[float, ...]
    scenarios: tuple[str, ...]
    cloning_seconds: float
    factor: float


@attrs.frozen(kw_only=True)
class Experiment:
    """What is run and how it is judged.

    Attributes:
      title: what it is about.
      scale: the name of its file.
      source: the file.
      primary: the measures by which arms are compared, the first one first: of ``MEASURES``.
      threshold: of the success rate, for the updates until it.
      decoding_episodes: how many episodes a temperature is chosen on.
      algorithm: settings of every trained arm, unless the arm says otherwise.
      run: how runs are evaluated and recorded.
      scenarios, arms: of every pair, so many runs.
      seconds_per_update, seconds_per_episode: measured, for the estimate; in s.
      ours: fields whose values are ours, since the source does not give them.
    """

    title: str
    scale: str
    source: Path
    primary: tuple[str, ...]
    threshold: float
    decoding_episodes: int
    algorithm: Mapping[str, Any]
    run: RunConfig
    scenarios: tuple[Scenario, ...]
    arms: tuple[Arm, ...]
    seconds_per_update: float
    seconds_per_episode: float
    ours: tuple[str, ...]

    def config(self, job: "Job") -> MSGRPOConfig:
        """The settings of a run's algorithm: the experiment's, changed by the scenario, then by the arm."""
        return MSGRPOConfig(**{**_settings(self, job.scenario, job.arm), "seed": job.seed})


@attrs.frozen(kw_only=True)
class Job:
    """One run of an experiment.

    Attributes:
      scenario: what is evaluated, and trained on where the policy is made here.
      arm: how the policy is made.
      seed: of both.
      source: the run whose policy is evaluated here; ``None``: this one makes its own.
    """

    scenario: Scenario
    arm: Arm
    seed: int
    source: "Job | None" = None

    @property
    def place(self) -> Path:
        """Its folder, below the experiment's."""
        return Path(self.scenario.name) / self.arm.name / str(self.seed)

    @property
    def trains(self) -> bool:
        """Whether anything is learnt in it."""
        return self.arm.kind == "train" and self.source is None

    @property
    def clone(self) -> tuple[Any, ...] | None:
        """What its policy is cloned from and how, equal for runs that begin with one clone; ``None``: no clone."""
        if self.source is not None or self.arm.model is not None:
            return None
        arm = self.arm
        return self.scenario, arm.player, arm.player_settings, arm.recipe, self.seed


def _settings(experiment: Experiment, scenario: Scenario, arm: Arm) -> dict[str, Any]:
    return {**experiment.algorithm, **scenario.algorithm, **arm.algorithm}


def jobs(experiment: Experiment, only: Sequence[str] = ()) -> list[Job]:
    """All runs, seed by seed, so that an early stop leaves every arm with as many runs.

    Args:
      experiment: as read.
      only: names of arms; all unless given.

    Raises:
      InvalidArgumentError: there is no such arm.
    """
    names = [arm.name for arm in experiment.arms]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise InvalidArgumentError(f"no arm is called {unknown[0]!r}; there are {', '.join(names)}")
    arms = [arm for arm in experiment.arms if not only or arm.name in only]
    return [
        _job(experiment, scenario, arm, seed)
        for seed in range(max(arm.runs for arm in arms))
        for scenario in experiment.scenarios
        for arm in arms
        if seed < arm.runs and (not arm.scenarios or scenario.name in arm.scenarios)
    ]


def _job(experiment: Experiment, scenario: Scenario, arm: Arm, seed: int) -> Job:
    made = next((s for s in experiment.scenarios if s.name == scenario.trained_on), None)
    source = None if made is None else Job(scenario=made, arm=arm, seed=seed)
    return Job(scenario=scenario, arm=arm, seed=seed, source=source)


def shipped() -> dict[str, Path]:
    """The experiments that come with the library: name to file, such as ``paper-laptop``."""
    folder = Path(str(resources.files("algorithms.experiments")))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def read_experiment(file: str | Path) -> Experiment:
    """Read and check the declaration of an experiment.

    Args:
      file: a TOML file.

    Raises:
      InvalidArgumentError: it cannot be read, or a field is missing, unknown or wrong; the message names both.
    """
    path = Path(file)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # Python's own, beside those of TOML
        raise InvalidArgumentError(f"{str(path)!r} cannot be read: {error}") from error
    return _Part(str(path), "", data).whole(path)


@attrs.frozen
class _Part:
    """A table of the file; every field that is taken is checked, and what is never taken is foreign."""

    file: str
    place: str
    data: dict[str, Any]

    def whole(self, path: Path) -> Experiment:
        measures, cost = self.part("measures"), self.part("cost")
        run = self.part("run")
        scenarios = tuple(part.scenario() for part in self.parts("scenario"))
        arms = tuple(part.arm() for part in self.parts("arm"))
        experiment = Experiment(
            title=self.take("title", str),
            scale=path.stem,
            source=path,
            primary=measures.names("primary", MEASURES),
            threshold=measures.number("threshold"),
            decoding_episodes=measures.take("decoding_episodes", int, 100),
            algorithm=self.take("algorithm", dict),
            run=run.made(RunConfig, run.data),
            scenarios=scenarios,
            arms=arms,
            seconds_per_update=cost.number("seconds_per_update"),
            seconds_per_episode=cost.number("seconds_per_episode"),
            ours=self.names("ours", None),
        )
        if measures.take("checkpoint", str) != "final":
            raise measures.fault(
                "checkpoint", "must be 'final': the last one is judged, not the best"
            )
        for part in (measures, cost, self):
            part.nothing_left()
        self._check(experiment)
        return experiment

    def scenario(self) -> Scenario:
        made = Scenario(
            name=self.name(),
            game=self.take("game", str),
            settings=self.take("settings", dict, {}),
            horizon=self.take("horizon", int, None),
            held_out=self.number("held_out", 0.2),
            algorithm=self.take("algorithm", dict, {}),
            trained_on=self.take("trained_on", str, None),
            factor=self.number("factor", 1.0),
        )
        self.nothing_left()
        return made

    def arm(self) -> Arm:
        recipe = self.take("recipe", dict, {})
        foreign = [name for name in recipe if name not in _RECIPE]
        if foreign:
            raise self.fault(f"recipe.{foreign[0]}", f"is none of {', '.join(_RECIPE)}")
        made = Arm(
            name=self.name(),
            note=self.take("note", str),
            kind=self.one_of("kind", get_args(Kind), "train"),
            runs=self.take("runs", int),
            algorithm=self.take("algorithm", dict, {}),
            recipe=recipe,
            model=self.take("model", str, None),
            player=self.one_of("player", get_args(Player), "scripted"),
            player_settings=self.take("player_settings", dict, {}),
            decoding=tuple(float(t) for t in self.numbers("decoding")),
            scenarios=self.names("scenarios", None),
            cloning_seconds=self.number("cloning_seconds", 0.0),
            factor=self.number("factor", 1.0),
        )
        self.nothing_left()
        if not 1 <= made.runs <= _MOST_RUNS:  # each is listed before the first begins
            raise self.fault("runs", f"must be from 1 to {_MOST_RUNS} (got {made.runs})")
        return made

    def _check(self, experiment: Experiment) -> None:
        """What no field shows by itself: settings of the algorithm, names that refer to others."""
        self._check_algorithms(experiment)
        self._check_transfer(experiment)
        for n, arm in enumerate(experiment.arms):
            known = [scenario.name for scenario in experiment.scenarios]
            for name in arm.scenarios:
                if name not in known:
                    raise self.fault(f"arm[{n}].scenarios", f"names no scenario: {name!r}")
        for kind in ("scenarios", "arms"):
            names = [item.name for item in getattr(experiment, kind)]
            if len(set(names)) < len(names):
                raise self.fault(
                    kind.removesuffix("s"), f"must have names that differ (got {names})"
                )
        for field in experiment.ours:
            if not _is_field(self.data | {"measures": {}}, field, experiment):
                raise self.fault("ours", f"names no field of this file: {field!r}")

    def _check_transfer(self, experiment: Experiment) -> None:
        """Policies come from a scenario that makes them, before they are evaluated elsewhere, in the same arms."""
        makers: list[str] = []
        for n, scenario in enumerate(experiment.scenarios):
            source = scenario.trained_on
            if source is None:
                makers.append(scenario.name)
                continue
            if source not in makers:
                rule = f"must name a scenario above it that makes its own policies (got {source!r})"
                raise self.fault(f"scenario[{n}].trained_on", rule)
            if scenario.algorithm:
                raise self.fault(f"scenario[{n}].algorithm", "has no use where nothing is trained")
            for m, arm in enumerate(experiment.arms):
                if scenario.name in arm.scenarios and source not in arm.scenarios:
                    rule = f"names {scenario.name!r}, which needs the policies of {source!r}"
                    raise self.fault(f"arm[{m}].scenarios", rule)

    def _check_algorithms(self, experiment: Experiment) -> None:
        for m, scenario in enumerate(experiment.scenarios):
            for n, arm in enumerate(experiment.arms):
                changed = [f"scenario[{m}]"] * bool(scenario.algorithm) + [f"arm[{n}]"] * bool(
                    arm.algorithm
                )
                where = f"{changed[-1]}.algorithm" if changed else "algorithm"
                part = _Part(self.file, where, {})
                settings = _settings(experiment, scenario, arm)
                part.made(MSGRPOConfig, settings)
                if "seed" in settings:
                    raise part.fault("seed", "comes from 'runs', and cannot be given")

    def fault(self, name: str, rule: str) -> InvalidArgumentError:
        field = f"{self.place}.{name}" if self.place else name
        return InvalidArgumentError(f"{self.file!r}: field {field!r} {rule}")

    def take(self, name: str, kind: type[T], *default: Any) -> Any:
        """A field of a type; a default makes it optional."""
        if name not in self.data:
            if default:
                return default[0]
            raise self.fault(name, "is missing")
        value = self.data.pop(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            word = {str: "a text", int: "a whole number", dict: "a table", list: "a list"}[kind]
            raise self.fault(name, f"must be {word} (got {value!r})")
        return value

    def number(self, name: str, *default: float) -> float:
        if name not in self.data and not default:
            raise self.fault(name, "is missing")
        value = self.data.pop(name, *default)
        number = finite(value)
        if number is None or number < 0:
            raise self.fault(name, f"must be a number of at least 0 (got {value!r})")
        return number

    def numbers(self, name: str) -> list[float]:
        values = self.take(name, list, [])
        numbers = [number for v in values if (number := finite(v)) is not None and number >= 0]
        if len(numbers) < len(values):
            raise self.fault(name, f"must be a list of numbers of at least 0 (got {values!r})")
        return numbers

    def name(self) -> str:
        name = str(self.take("name", str))
        if not name or not all(c.isalnum() or c in "-_" for c in name):
            raise self.fault("name", f"must consist of letters, digits, - and _ (got {name!r})")
        return name

    def names(self, name: str, among: Sequence[str] | None) -> tuple[str, ...]:
        values = self.take(name, list, *(() if among else ([],)))
        wrong = [v for v in values if not isinstance(v, str) or (among and v not in among)]
        if wrong:
            rule = f"one of {', '.join(among)}" if among else "a text"
            raise self.fault(name, f"must hold {rule} each (got {wrong[0]!r})")
        return tuple(values)

    def one_of(self, name: str, among: Sequence[str], default: str) -> Any:
        value = self.take(name, str, default)
        if value not in among:
            raise self.fault(name, f"must be one of {', '.join(among)} (got {value!r})")
        return value

    def part(self, name: str) -> "_Part":
        place = f"{self.place}.{name}" if self.place else name
        return _Part(self.file, place, dict(self.take(name, dict)))

    def parts(self, name: str) -> list["_Part"]:
        values = self.take(name, list)
        if not values or not all(isinstance(value, dict) for value in values):
            raise self.fault(name, f"must be at least one table [[{name}]]")
        return [_Part(self.file, f"{name}[{n}]", dict(v)) for n, v in enumerate(values)]

    def nothing_left(self) -> None:
        if self.data:
            raise self.fault(next(iter(self.data)), "is unknown")

    def made(self, config: type[T], settings: Mapping[str, Any]) -> T:
        """A configuration of these settings; its own complaint names the field."""
        known = {field.name: field for field in attrs.fields(config)}  # type: ignore[arg-type]
        for name, value in settings.items():
            if name not in known:
                raise self.fault(name, f"is no field of {config.__name__}")
            kind = type(known[name].default)
            fits = type(value) is kind or (kind is float and type(value) is int)
            if not fits:
                raise self.fault(name, f"must be of type {kind.__name__} (got {value!r})")
        try:
            return config(**settings)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{self.file!r}: in {self.place!r}, {error}") from error


def _is_field(data: Mapping[str, Any], field: str, experiment: Experiment) -> bool:
    """Whether a dotted path leads to a field of the experiment: ``algorithm.updates``, ``arm.aaw.runs``."""
    head, _, rest = field.partition(".")
    if head in ("arm", "scenario"):
        name, _, attribute = rest.partition(".")
        found = [x for x in getattr(experiment, f"{head}s") if x.name == name]
        first = attribute.partition(".")[0]
        return bool(found) and first in {f.name for f in attrs.fields(type(found[0]))}
    if head == "algorithm":
        return rest in experiment.algorithm
    if head == "run":
        return rest in {f.name for f in attrs.fields(RunConfig)}
    return head == "measures" and rest in ("primary", "threshold", "decoding_episodes")
