"""Signal-to-noise ratios of estimators under a policy with too many trajectories to list.

The laboratory (``proofs.analyse_estimator``) evaluates an estimator on all groups that a policy can play. Here groups
are played, each estimator computes its gradient on every group with the trainer's own loss, and the figures of the
laboratory are estimated from these gradients by sums over *pairs* of different groups, so that their noise adds no
bias. The true gradient is estimated from the same groups by an unbiased estimator: all episodes, leave-one-out
baseline, no std. Source: ``docs/theory/10_estimator.md`` (Equation 10.4) [ours].
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import attrs
import numpy as np
import torch

from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.method.estimator_settings import check_estimator
from algorithms.play.after_episodes import read_at_end
from algorithms.play.rollouts import collect_groups
from algorithms.training.drawing import zero_variance_episodes
from proofs.estimators.batches import groups_are_apart, tokens_of, zero_variance_share
from proofs.estimators.laboratory import Settings
from proofs.estimators.moments import BLOCKS, jackknife
from proofs.exact.gradients import Array, TrainablePolicy
from tsmg import AbstractGame, EpisodeGroup, InvalidArgumentError, Stream

_AT_ONCE = 16  # groups that are played together
_UNBIASED: Settings = {
    "sampling": "all",
    "baseline": "leave_one_out",
    "std": "none",
    "credit": "episode",
    "weighting": "constant",
    "alpha": 1.0,
    "floor": 0.0,
    "replacement": False,
    "anchor_weight": 1.0,
}


@final
@attrs.frozen(kw_only=True, eq=False)
class Signal:
    """Measured figures of an estimator; a batch is one group.

    Each array holds a figure over all groups, then without each of twenty blocks of groups. Shape (21,).

    Attributes:
      config: settings of the estimator.
      groups: number of groups that were played.
      cosines: cosine between the expected gradient and the true one; NaN where the estimate of a squared norm is not
        positive.
      snrs: squared component along the true gradient, over the trace of the covariance, of one group.
      generated_tokens: mean number of tokens that were sampled for a group.
      trained_tokens: mean number of tokens of a group that are trained on.
      zero_variance_share: share of groups, in their roles, of which nothing is selected.
    """

    config: MSGRPOConfig
    groups: int
    cosines: Array
    snrs: Array
    generated_tokens: Array
    trained_tokens: Array
    zero_variance_share: float

    @property
    def cosine(self) -> float:
        """The cosine between the expected gradient and the true one."""
        return float(self.cosines[0])

    @property
    def snr(self) -> float:
        """The SNR of one group, 1 / n of that of n groups; negative where it points against the true gradient."""
        return float(self.snrs[0])

    @property
    def snrs_per_generated_token(self) -> Array:
        """SNR per generated token: at an equal cost of rollouts. Shape (21,)."""
        return _ratio(self.snrs, self.generated_tokens)

    @property
    def snrs_per_trained_token(self) -> Array:
        """SNR per trained token: at an equal cost of updates. Shape (21,)."""
        return _ratio(self.snrs, self.trained_tokens)


def interval(values: Array) -> tuple[float, float]:
    """The 95% confidence interval of a figure by the jackknife.

    Args:
      values: a figure of all groups, then without each block; or the ratio of two figures of the same groups, in
        which common noise cancels. Shape (21,).

    Returns:
      The interval; NaN where a value is not finite, since too few groups have a gradient.
    """
    if not np.isfinite(values).all():
        return math.nan, math.nan
    whole, *left_out = map(float, values)
    return jackknife(whole, left_out)


def measure_signal(
    game: AbstractGame[Any, Any],
    policy: TrainablePolicy,
    config: MSGRPOConfig,
    estimators: Mapping[str, Settings | Estimator],
    *,
    groups: int = 200,
    report: Callable[[int], None] = lambda played: None,
) -> dict[str, Signal]:
    """Play groups, and compare the gradients that estimators compute from them.

    All estimators share the same groups; one of smaller groups takes the first episodes. KL and entropy terms are left
    out, but zero-variance groups that are trained on for them count as trained. Twenty gradients are kept for each
    estimator.

    Args:
      game: the game to play.
      policy: the policy of every agent; all of them learn.
      config: the common settings: reply sampling, group size, seed, token budget.
      estimators: by name, the settings that differ: credit, baseline, std, sampling, weighting, kept episodes, group
        size; or an estimator with rules of one's own, made of the common settings.
      groups: number of groups, at least 40. Intervals shrink with its square root.
      report: called with the number of groups that were played so far.

    Raises:
      InvalidArgumentError: too few groups; an estimator of larger groups, of groups that share something else or are
        compared with each other, or with a state, which a policy comes without; or no group with a gradient.

    Example:
      >>> import games, lap
      >>> game = games.make("BernoulliBandit-v0", means=(0.25, 0.75), pulls=1)
      >>> policy = lap.LanguageAgentPolicy(model=lap.TabularModel(("1", "2"), capacity=1),
      ...     parser=lap.WholeReplyParser(), sampling=lap.Sampling(max_reply_tokens=1))
      >>> config = MSGRPOConfig(group_size=4, kept_episodes=2, max_reply_tokens=1)
      >>> signals = measure_signal(game, policy, config, {"all": {"sampling": "all"}, "half": {"sampling": "uniform"}})
      >>> bool(signals["all"].snr > signals["half"].snr > 0)
      True
    """
    if groups < 2 * BLOCKS:
        raise InvalidArgumentError(f"'groups' must be at least {2 * BLOCKS} (got {groups})")
    base = attrs.evolve(config, groups=1, kl_coefficient=0.0, entropy_coefficient=0.0)
    trainer = MSGRPOTrainer(game=game, policy=policy, config=base)
    wanted, made = {}, {}
    for name, given in estimators.items():
        if isinstance(given, Estimator):
            check_estimator(given, config, game.facts)
            wanted[name], made[name] = attrs.evolve(config, groups=1), given
        else:
            wanted[name] = attrs.evolve(config, groups=1, **given)
            made[name] = Estimator.of(wanted[name], game.facts)
    for name, changed in wanted.items():
        made[name].bind(read_at_end(game, trainer.policies))
        _check_measurable(name, made[name], changed, among=trainer)
    truth = Estimator.of(attrs.evolve(base, **_UNBIASED), game.facts)
    true_tally = _Tally(groups)
    tallies = {name: _Tally(groups) for name in made}
    for number, group in enumerate(_played(trainer, groups)):
        true = _estimate(trainer, truth, number, group)
        true_tally.add(number, true, true.gradient_D)
        for name, estimator in made.items():
            first = EpisodeGroup(episodes=group.episodes[: wanted[name].group_size])
            found = _estimate(trainer, estimator, number, first, regularised=wanted[name])
            tallies[name].add(number, found, true.gradient_D)
        report(number + 1)
    if not true_tally.squares.any():
        raise InvalidArgumentError(
            f"'policy' must play episodes of {game.name} that differ in return"
        )
    return {name: tally.signal(wanted[name], true_tally) for name, tally in tallies.items()}


def _check_measurable(
    name: str, made: Estimator, changed: MSGRPOConfig, *, among: MSGRPOTrainer
) -> None:
    """Refuse an estimator that cannot be measured on the groups that the trainer plays."""
    size, group_on = among.config.group_size, among.estimator.group_on
    if changed.group_size > size:
        raise InvalidArgumentError(
            f"estimator {name!r}: 'group_size' must be at most {size} (got {changed.group_size})"
        )
    if made.group_on != group_on or changed.common_chance:
        raise InvalidArgumentError(
            f"estimator {name!r}: 'group_on' must be {group_on!r}, and 'common_chance' off"
        )
    if made.starts or made.branching:
        raise InvalidArgumentError(
            f"estimator {name!r}: 'starts' must be 'law' and 'branching' 'none', since all estimators are measured "
            "on the same groups"
        )
    if not groups_are_apart(made, changed):
        raise InvalidArgumentError(
            f"estimator {name!r}: 'group_filter' must be 'all', 'batch_rule' 'none', 'scope' 'group', and 'weighting' "
            "neither 'step' nor 'token', since groups are measured one by one"
        )
    if made.state():
        raise InvalidArgumentError(
            f"estimator {name!r}: a rule with a state ({', '.join(made.state())}) cannot be measured, since a policy "
            "comes without what a run has made of that state"
        )


def comparison_rows(signals: Mapping[str, Signal]) -> list[tuple[str, ...]]:
    """The table of ``tsmg signal`` as text: a headline, and a row per estimator, compared with the first.

    Args:
      signals: figures that were measured on the same groups, by name.
    """
    first = next(iter(signals.values()))

    def row(signal: Signal) -> tuple[str, ...]:
        over = (
            (signal.snrs, first.snrs),
            (signal.snrs_per_generated_token, first.snrs_per_generated_token),
            (signal.snrs_per_trained_token, first.snrs_per_trained_token),
        )
        ratios = ("" if signal is first else _shown(_ratio(*pair)) for pair in over)
        share = f"{signal.zero_variance_share:.2f}"
        return _shown(signal.cosines), _shown(signal.snrs), *ratios, share

    headline = ("estimator", "cosine", "SNR", "over", "generated", "trained", "zero var.")
    return [headline, *((name, *row(signal)) for name, signal in signals.items())]


def _shown(values: Array) -> str:
    low, high = interval(values)
    return "-" if math.isnan(low) else f"{values[0]:.3g} ±{(high - low) / 2:.2g}"


def _ratio(one: Array, other: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Array = one / other
    return ratio


def _played(trainer: MSGRPOTrainer, groups: int) -> Iterator[EpisodeGroup[Any]]:
    """So many groups, several of them at a time."""
    for first in range(0, groups, _AT_ONCE):
        yield from collect_groups(
            trainer.game,
            trainer.policies,
            seed=trainer.config.seed,
            update=0,
            groups=range(first, min(first + _AT_ONCE, groups)),
            group_size=trainer.config.group_size,
            group_on=trainer.estimator.group_on,
            max_failure_rate=0.0,
        ).groups


@attrs.frozen(kw_only=True, eq=False)
class _Estimate:
    """An estimator's gradient of one group, its tokens, and the share of roles of which nothing is selected."""

    gradient_D: torch.Tensor
    generated: int
    trained: int
    zero_variance: float


def _estimate(
    trainer: MSGRPOTrainer,
    estimator: Estimator,
    number: int,
    group: EpisodeGroup[Any],
    *,
    regularised: MSGRPOConfig | None = None,
) -> _Estimate:
    """The estimate of a group, by the trainer's own backward pass.

    Zero-variance groups are kept where the settings train on them for their regularisers; without settings, nowhere.
    """
    roles = estimator.role_groups([group], trainer.game.agents)
    rngs = [Stream("signal", trainer.config.seed, number, r) for r in range(len(roles))]
    selected = estimator.draw(roles, rngs)
    kept = zero_variance_episodes(regularised, roles, selected) if regularised else []
    rows = estimator.rows(roles, [*selected, *kept], asked=len(roles))
    optimizer = trainer.batch_learner.optimizer
    optimizer.zero_grad()
    trainer.backward(rows)
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    parts = [w.new_zeros(w.numel()) if w.grad is None else w.grad.flatten() for w in weights]
    generated, trained = tokens_of(roles, rows)
    return _Estimate(
        gradient_D=torch.cat(parts).neg_(),
        generated=generated,
        trained=trained,
        zero_variance=zero_variance_share(roles, selected),
    )


class _Tally:
    """Sums over blocks of groups: of gradients, of their squared norms, and of their products with the true one."""

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self.gradients: list[torch.Tensor] = [torch.zeros(())] * BLOCKS
        (
            self.count,
            self.squares,
            self.products,
            self.generated,
            self.trained,
            self.zero_variance,
        ) = (np.zeros(BLOCKS) for _ in range(6))

    def add(self, number: int, estimate: _Estimate, true_D: torch.Tensor) -> None:
        block = number * BLOCKS // self.groups
        self.gradients[block] = estimate.gradient_D + self.gradients[block]
        self.count[block] += 1
        self.squares[block] += _product(estimate.gradient_D, estimate.gradient_D)
        self.products[block] += _product(estimate.gradient_D, true_D)
        self.generated[block] += estimate.generated
        self.trained[block] += estimate.trained
        self.zero_variance[block] += estimate.zero_variance

    def signal(self, config: MSGRPOConfig, truth: "_Tally") -> Signal:
        """The figures of the laboratory, from sums over pairs of different groups."""
        n = _with_and_without(self.count)
        pairs = n * (n - 1)
        own = (_of_sums(self, self) - _with_and_without(self.squares)) / pairs
        true = (_of_sums(truth, truth) - _with_and_without(truth.squares)) / pairs
        both = (_of_sums(self, truth) - _with_and_without(self.products)) / pairs
        variance = _with_and_without(self.squares) / n - own
        with np.errstate(invalid="ignore"):
            root = np.sqrt(own * true)
        return Signal(
            config=config,
            groups=self.groups,
            cosines=_ratio(both, root),
            snrs=_ratio(np.sign(both) * both**2, true * variance),
            generated_tokens=_with_and_without(self.generated) / n,
            trained_tokens=_with_and_without(self.trained) / n,
            zero_variance_share=float(self.zero_variance.sum()) / self.groups,
        )


def _product(one_D: torch.Tensor, other_D: torch.Tensor) -> float:
    return float(one_D.double() @ other_D.double())


def _with_and_without(blocks: Array) -> Array:
    """The sum over all blocks, then the sums over all but one. Shape (21,)."""
    total = blocks.sum()
    return np.concatenate([[total], total - blocks])


def _of_sums(tally: _Tally, other: _Tally) -> Array:
    """The products of the summed gradients: of all blocks, then of all but one. Shape (21,)."""
    table = np.array([[_product(a, b) for b in other.gradients] for a in tally.gradients])
    return np.concatenate(
        [[table.sum()], table.sum() - table.sum(axis=0) - table.sum(axis=1) + np.diagonal(table)]
    )
