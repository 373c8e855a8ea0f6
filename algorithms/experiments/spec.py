"""The declaration of an experiment: a TOML file of scenarios and arms; each pair makes a ``RunSpec`` for every seed."""

import itertools
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import attrs

from algorithms.cloning.config import CloningConfig
from algorithms.method.config import MSGRPOConfig
from algorithms.method.presets import PRESETS
from algorithms.method.settings import one_of, within
from algorithms.training.config import RunConfig
from algorithms.training.game_spec import GameSpec
from algorithms.training.plain_data import from_plain, read_settings
from algorithms.training.policy_spec import PolicySpec
from algorithms.training.spec import RunSpec
from tsmg import InvalidArgumentError

MEASURES: Final = ("area", "until", "final")
_MOST_RUNS = 10_000  # each is listed before the first begins


def _check_name(instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not value or not all(c.isalnum() or c in "-_" for c in value):
        raise InvalidArgumentError(
            f"{attribute.name!r} must consist of letters, digits, - and _ (got {value!r})"
        )


def _check_size(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value < math.inf:
        raise InvalidArgumentError(
            f"{attribute.name!r} must be finite and at least 0 (got {value!r})"
        )


def _check_measures(
    instance: object, attribute: "attrs.Attribute[tuple[str, ...]]", value: tuple[str, ...]
) -> None:
    if not set(value) <= set(MEASURES):
        raise InvalidArgumentError(
            f"{attribute.name!r} must contain only names among {', '.join(MEASURES)} (got {list(value)})"
        )


def _check_method(
    instance: object, attribute: "attrs.Attribute[str | None]", value: str | None
) -> None:
    if value is not None and value not in PRESETS:
        raise InvalidArgumentError(
            f"{attribute.name!r} must be one of {', '.join(PRESETS)} (got {value!r})"
        )


@attrs.frozen(kw_only=True)
class Measures:
    """How an experiment is judged.

    Attributes:
      primary: the measures by which arms are compared, of ``MEASURES``, the most important one first.
      threshold: success rate that updates are counted to.
      checkpoint: which policy of a run is judged; only the final one, since choosing the best one is biased.
      decoding_episodes: number of episodes on which a temperature is chosen.
    """

    primary: tuple[str, ...] = attrs.field(validator=_check_measures)
    threshold: float = attrs.field(validator=_check_size)
    checkpoint: Literal["final"] = attrs.field(validator=one_of)
    decoding_episodes: int = attrs.field(default=100, validator=within(1))


@attrs.frozen(kw_only=True)
class Cost:
    """Measured durations, from which the length of a run is estimated.

    Attributes:
      seconds_per_update: of the first scenario and arm; in s.
      seconds_per_episode: of their evaluation; in s.
    """

    seconds_per_update: float = attrs.field(validator=_check_size)
    seconds_per_episode: float = attrs.field(validator=_check_size)


@attrs.frozen(kw_only=True)
class Scenario:
    """A game that every arm is evaluated on.

    Attributes:
      name: in folders and tables.
      game: the game, its arguments and the share of its starts that is held out.
      algorithm: settings that differ from the experiment's algorithm, for every arm.
      opponent: who plays against or with the learning agent, as in ``RunSpec``.
      trained_on: name of the scenario whose policies are evaluated here, seed for seed (transfer); ``None``: its own.
      factor: duration of its episodes and updates, relative to the first scenario.
    """

    name: str = attrs.field(validator=_check_name)
    game: GameSpec = attrs.field()
    algorithm: Mapping[str, object] = attrs.field(factory=dict)
    opponent: str = "self"
    trained_on: str | None = None
    factor: float = attrs.field(default=1.0, validator=_check_size)


@attrs.frozen(kw_only=True)
class Arm:
    """A way to make a policy.

    Attributes:
      name: in folders and tables.
      note: what it is for.
      kind: ``train``: train, then evaluate; ``evaluate``: evaluate without training.
      runs: number of seeds.
      method: name of a method, one of ``PRESETS``; other settings override what it suggests, but cannot change what
        defines it. ``None``: the settings alone.
      algorithm: settings that differ from the experiment's algorithm.
      policy: the policy that training starts from; a clone takes the seed of the run.
      decoding: temperatures to choose among on other episodes; empty: the training temperature.
      scenarios: names of the scenarios that it is run in; empty: all.
      cloning_seconds: duration of making the policy, in s.
      factor: duration of its episodes and updates, relative to the first arm.
    """

    name: str = attrs.field(validator=_check_name)
    note: str = ""
    kind: Literal["train", "evaluate"] = attrs.field(default="train", validator=one_of)
    runs: int = attrs.field(validator=within(1, _MOST_RUNS))
    method: str | None = attrs.field(default=None, validator=_check_method)
    algorithm: Mapping[str, object] = attrs.field(factory=dict)
    policy: PolicySpec = PolicySpec()
    decoding: tuple[float, ...] = attrs.field(
        default=(), validator=attrs.validators.deep_iterable(_check_size)
    )
    scenarios: tuple[str, ...] = ()
    cloning_seconds: float = attrs.field(default=0.0, validator=_check_size)
    factor: float = attrs.field(default=1.0, validator=_check_size)


@attrs.frozen(kw_only=True)
class Job:
    """One run of an experiment.

    Attributes:
      scenario: where the policy is evaluated, and trained unless it comes from another run.
      arm: how the policy is made.
      seed: seed of the run.
      source: the run whose policy is evaluated here; ``None``: this run makes its own.
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
        """Whether a policy is trained in it."""
        return self.arm.kind == "train" and self.source is None

    @property
    def clone(self) -> tuple[Scenario, PolicySpec, int] | None:
        """A value that is equal for runs that start from the same clone; ``None`` if no clone is made."""
        if self.source is not None or self.arm.policy.model is not None:
            return None
        return self.scenario, self.arm.policy, self.seed


@attrs.frozen(kw_only=True)
class Experiment:
    """The runs of an experiment, and how they are judged.

    Attributes:
      title: a phrase for reports.
      measures: how it is judged.
      cost: durations, for estimates.
      algorithm: settings of every trained arm, unless the scenario or the arm changes them.
      run: when runs are evaluated and saved.
      scenarios: the games.
      arms: the ways to make a policy; each runs in each scenario, once per seed.
      ours: dotted paths of settings whose values the source does not give, such as ``arms.aaw.runs``.
      source: the file.
    """

    title: str
    measures: Measures
    cost: Cost
    algorithm: Mapping[str, object]
    run: RunConfig
    scenarios: tuple[Scenario, ...]
    arms: tuple[Arm, ...]
    ours: tuple[str, ...] = ()
    source: str = ""

    @property
    def scale(self) -> str:
        """The name of its file."""
        return Path(self.source).stem

    def run_spec(self, job: Job) -> RunSpec:
        """The specification of a run; if it takes another run's policy, that of the training that made the policy."""
        settings = {**_settings(self, job.scenario, job.arm), "seed": job.seed}
        policy = job.arm.policy
        if policy.model is None:
            cloning = attrs.evolve(policy.cloning or CloningConfig(), seed=job.seed)
            policy = attrs.evolve(policy, cloning=cloning)
        return RunSpec(
            game=job.scenario.game,
            policy=policy,
            algorithm=from_plain(MSGRPOConfig, settings, source=repr(self.source)),
            run=self.run,
            opponent=job.scenario.opponent,
            threads=1,
            labels={
                "title": f"{self.title} ({self.scale})",
                "scenario": job.scenario.name,
                "trained_on": job.scenario.trained_on or job.scenario.name,
                "arm": job.arm.name,
                "experiment": self.scale,
            },
        )


def _settings(experiment: Experiment, scenario: Scenario, arm: Arm) -> dict[str, object]:
    """What is given, over what the method suggests; what makes the method holds in any case."""
    given = {**experiment.algorithm, **scenario.algorithm, **arm.algorithm}
    if arm.method is None:
        return given
    method = PRESETS[arm.method]
    method.check(given, name=arm.method)
    return {**method.settings, **given}


def jobs(experiment: Experiment, only: Sequence[str] = ()) -> list[Job]:
    """All runs, seed by seed, so that an early stop leaves every arm with as many runs.

    Args:
      experiment: the declaration.
      only: names of arms; all unless given.

    Raises:
      InvalidArgumentError: there is no such arm.
    """
    names = [arm.name for arm in experiment.arms]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise InvalidArgumentError(f"no arm is called {unknown[0]!r}; there are {', '.join(names)}")
    arms = [arm for arm in experiment.arms if not only or arm.name in only]
    by_name = {scenario.name: scenario for scenario in experiment.scenarios}
    result = []
    for seed in range(max(arm.runs for arm in arms)):
        for scenario in experiment.scenarios:
            for arm in arms:
                if seed < arm.runs and (not arm.scenarios or scenario.name in arm.scenarios):
                    origin = by_name.get(scenario.trained_on or "")
                    source = None if origin is None else Job(scenario=origin, arm=arm, seed=seed)
                    result.append(Job(scenario=scenario, arm=arm, seed=seed, source=source))
    return result


def shipped() -> dict[str, Path]:
    """The experiments that come with the library: name to file, such as ``paper-laptop``."""
    folder = Path(str(resources.files("algorithms.experiments")))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def read_experiment(file: str | Path) -> Experiment:
    """Read and check the declaration of an experiment.

    Args:
      file: a TOML file.

    Raises:
      InvalidArgumentError: it cannot be read, a key is missing or unknown, or a value breaks its rule; the message
        names file, section and key.
    """
    source = repr(str(file))
    settings = read_settings(file)
    if "source" in settings:
        raise InvalidArgumentError(f"{source}: unknown key 'source' in the top level")
    experiment = from_plain(Experiment, {**settings, "source": str(file)}, source=source)
    try:
        for kind, names in (
            ("scenarios", [scenario.name for scenario in experiment.scenarios]),
            ("arms", [arm.name for arm in experiment.arms]),
        ):
            if not names or len(set(names)) < len(names):
                raise InvalidArgumentError(
                    f"{kind!r} must be at least one table [[{kind}]], with different names (got {names})"
                )
        _check_seeds(experiment)
        _check_opponents(experiment)
        _check_transfer(experiment)
        for path in experiment.ours:
            if not _leads_somewhere(experiment, path.split(".")):
                raise InvalidArgumentError(f"'ours' names no setting of this file: {path!r}")
        for scenario, arm in itertools.product(experiment.scenarios, experiment.arms):
            _settings(experiment, scenario, arm)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{source}: {error}") from error
    for m, scenario in enumerate(experiment.scenarios):
        for n, arm in enumerate(experiment.arms):
            changed = f"scenarios[{m}].algorithm" if scenario.algorithm else "algorithm"
            section = f"arms[{n}].algorithm" if arm.algorithm else changed
            merged = _settings(experiment, scenario, arm)
            from_plain(MSGRPOConfig, merged, source=source, section=section)
    return experiment


def _check_seeds(experiment: Experiment) -> None:
    """The seeds of runs are 0, 1, ...: no section gives one."""
    places: list[tuple[str, Mapping[str, object]]] = [("algorithm", experiment.algorithm)]
    places += [(f"scenarios.{s.name}.algorithm", s.algorithm) for s in experiment.scenarios]
    places += [(f"arms.{arm.name}.algorithm", arm.algorithm) for arm in experiment.arms]
    for place, settings in places:
        if "seed" in settings:
            raise InvalidArgumentError(f"'{place}.seed' comes from 'runs', and cannot be given")
    for arm in experiment.arms:
        if arm.policy.cloning is not None and arm.policy.cloning.seed != CloningConfig().seed:
            raise InvalidArgumentError(
                f"'arms.{arm.name}.policy.cloning.seed' comes from 'runs', and cannot be given"
            )


def _check_opponents(experiment: Experiment) -> None:
    """An opponent is there where agents are trained; what is evaluated without training plays with itself."""
    for scenario in experiment.scenarios:
        evaluated = [
            arm.name
            for arm in experiment.arms
            if (arm.kind == "evaluate" or scenario.trained_on)
            and (not arm.scenarios or scenario.name in arm.scenarios)
        ]
        if scenario.opponent != "self" and evaluated:
            raise InvalidArgumentError(
                f"'scenarios.{scenario.name}.opponent' is possible only where every arm trains (the arm "
                f"{evaluated[0]!r} does not)"
            )


def _check_transfer(experiment: Experiment) -> None:
    """Policies come from a scenario that makes them, before they are evaluated elsewhere, in the same arms."""
    known = [scenario.name for scenario in experiment.scenarios]
    for arm in experiment.arms:
        for name in arm.scenarios:
            if name not in known:
                raise InvalidArgumentError(
                    f"'arms.{arm.name}.scenarios' names no scenario: {name!r}"
                )
    makers: list[str] = []
    for scenario in experiment.scenarios:
        place, origin = f"scenarios.{scenario.name}", scenario.trained_on
        if origin is None:
            makers.append(scenario.name)
            continue
        if origin not in makers:
            raise InvalidArgumentError(
                f"'{place}.trained_on' must name a scenario above it that makes its own policies (got {origin!r})"
            )
        if scenario.algorithm:
            raise InvalidArgumentError(
                f"'{place}.algorithm' has no effect where nothing is trained"
            )
        for arm in experiment.arms:
            if scenario.name in arm.scenarios and origin not in arm.scenarios:
                raise InvalidArgumentError(
                    f"'arms.{arm.name}.scenarios' names {scenario.name!r}, which needs the policies of {origin!r}"
                )


def _leads_somewhere(value: object, path: Sequence[str]) -> bool:
    """Whether a dotted path leads to a setting: ``algorithm.updates``, ``arms.aaw.runs``."""
    if not path:
        return True
    name, *rest = path
    if isinstance(value, Mapping):
        return name in value and _leads_somewhere(value[name], rest)
    if isinstance(value, tuple):
        return any(
            getattr(item, "name", "") == name and _leads_somewhere(item, rest) for item in value
        )
    if not attrs.has(type(value)):
        return False
    fields = attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
    return name in fields and _leads_somewhere(fields[name], rest)
