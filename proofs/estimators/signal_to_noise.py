"""How much signal an estimator has under a policy that is too large for its play to be listed.

The laboratory (``proofs.analyse_estimator``) puts an estimator through all groups that a policy can play. Here groups
are played, each estimator makes its gradient of every one of them by the trainer's own loss, and the figures of the
laboratory are estimated from these gradients without bias from their noise: sums over *pairs* of different groups.
The true gradient is taken from the same groups by an estimator without bias: all episodes, leave-one-out baseline, no
division.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import attrs
import numpy as np
import torch

from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.play.rollouts import collect_groups
from lap import LanguageAgentPolicy
from proofs.estimators.laboratory import BLOCKS, jackknife, silent_share, tokens_of
from proofs.exact.gradients import Array
from tsmg import AbstractGame, EpisodeGroup, InvalidArgumentError, Stream

_AT_ONCE = 16  # groups that are played together
_UNBIASED: Mapping[str, Any] = {
    "sampling": "all",
    "baseline": "leave_one_out",
    "std": "none",
    "credit": "episode",
    "weighting": "constant",
}


@final
@attrs.frozen(kw_only=True, eq=False)
class Signal:
    """What was measured of an estimator; a batch is one group.

    Each figure stands first with all groups, then without each of twenty blocks of them. Shape (21,).

    Attributes:
      config: the estimator's settings.
      groups: how many groups were played.
      cosines: between the expected gradient and the true one; NaN where one of them cannot be told from 0.
      snrs: the squared component along the true gradient over the trace of the covariance, of one group.
      generated_tokens: sampled in a group.
      trained_tokens: trained on in a group.
      silent_share: the share of groups of which nothing is selected.
    """

    config: MSGRPOConfig
    groups: int
    cosines: Array
    snrs: Array
    generated_tokens: Array
    trained_tokens: Array
    silent_share: float

    @property
    def cosine(self) -> float:
        """Between the expected gradient and the true one."""
        return float(self.cosines[0])

    @property
    def snr(self) -> float:
        """Of one group; that of n groups is n times as great. Negative where it points against the true gradient."""
        return float(self.snrs[0])

    @property
    def snrs_per_generated_token(self) -> Array:
        """Of batches at an equal cost of play. Shape (21,)."""
        return _ratio(self.snrs, self.generated_tokens)

    @property
    def snrs_per_trained_token(self) -> Array:
        """Of batches at an equal cost of learning. Shape (21,)."""
        return _ratio(self.snrs, self.trained_tokens)


def interval(values: Array) -> tuple[float, float]:
    """The 95% confidence interval of a figure by the jackknife.

    Args:
      values: a figure of all groups, then without each block; also a ratio of two signals of the same groups, in
        which what both share falls out. Shape (21,).

    Returns:
      The interval; NaN where some of the values are not finite, since too few groups told anything.
    """
    if not np.isfinite(values).all():
        return math.nan, math.nan
    whole, *left_out = map(float, values)
    return jackknife(whole, left_out)


def measure_signal(
    game: AbstractGame[Any, Any],
    policy: LanguageAgentPolicy[Any],
    config: MSGRPOConfig,
    estimators: Mapping[str, Mapping[str, Any]],
    *,
    groups: int = 200,
    report: Callable[[int], None] = lambda played: None,
) -> dict[str, Signal]:
    """Play groups, and hold the gradients that estimators make of them against each other.

    All estimators see the same groups; one of smaller groups takes the first episodes. KL and entropy terms are left
    out. Twenty-one gradients are held for each estimator.

    Args:
      game: what is played.
      policy: who plays all roles; all of them learn.
      config: the settings of play, which estimators change: sampling distribution, group size, seed, token budget.
      estimators: by name, which settings differ: credit, baseline, std, sampling, weighting, kept episodes, size.
      groups: how many, at least 40. Intervals shrink with the root of it.
      report: is told how many groups were played.

    Raises:
      InvalidArgumentError: too few groups, an estimator of larger groups or of groups that share something else, or
        nothing to learn from in any group.

    Example:
      >>> import games, lap
      >>> game = games.make("BernoulliBandit-v0", means=(0.25, 0.75), pulls=1)
      >>> policy = lap.LanguageAgentPolicy(model=lap.TabularModel(("1", "2"), capacity=1),
      ...     parser=lap.WholeReplyParser(), sampling=lap.Sampling(max_reply_tokens=1))
      >>> config = MSGRPOConfig(group_size=4, kept_episodes=2, max_reply_tokens=1)
      >>> found = measure_signal(game, policy, config, {"all": {"sampling": "all"}, "half": {"sampling": "uniform"}})
      >>> bool(found["all"].snr > found["half"].snr > 0)
      True
    """
    if groups < 2 * BLOCKS:
        raise InvalidArgumentError(f"'groups' must be at least {2 * BLOCKS} (got {groups})")
    base = attrs.evolve(config, groups=1, kl_coefficient=0.0, entropy_coefficient=0.0)
    trainer = MSGRPOTrainer(game=game, policy=policy, config=base)
    wanted = {name: attrs.evolve(base, **changes) for name, changes in estimators.items()}
    made = {name: Estimator.of(one, game.facts) for name, one in wanted.items()}
    for name, estimator in made.items():
        _check(name, estimator, trainer.estimator)
    truth = Estimator.of(attrs.evolve(base, **_UNBIASED), game.facts)
    true_tally = _Tally(groups)
    tallies = {name: _Tally(groups) for name in made}
    for number, group in enumerate(_played(trainer, groups)):
        true = _look(trainer, truth, number, group)
        true_tally.add(number, true, true.gradient_D)
        for name, estimator in made.items():
            look = _look(trainer, estimator, number, group)
            tallies[name].add(number, look, true.gradient_D)
        report(number + 1)
    if not true_tally.squares.any():
        raise InvalidArgumentError(
            f"'policy' must play episodes of {game.name} that differ in return"
        )
    return {name: tally.signal(wanted[name], true_tally) for name, tally in tallies.items()}


def comparison_rows(found: Mapping[str, Signal]) -> list[tuple[str, ...]]:
    """The table of ``tsmg signal`` as text: a headline, and a row per estimator, held against the first.

    Args:
      found: what was measured on the same groups.
    """
    first = next(iter(found.values()))

    def row(one: Signal) -> tuple[str, ...]:
        over = (
            (one.snrs, first.snrs),
            (one.snrs_per_generated_token, first.snrs_per_generated_token),
            (one.snrs_per_trained_token, first.snrs_per_trained_token),
        )
        ratios = ("" if one is first else _shown(_ratio(*pair)) for pair in over)
        return _shown(one.cosines), _shown(one.snrs), *ratios, f"{one.silent_share:.2f}"

    headline = ("estimator", "cosine", "SNR", "over", "generated", "trained", "silent")
    return [headline, *((name, *row(one)) for name, one in found.items())]


def _shown(values: Array) -> str:
    low, high = interval(values)
    return "-" if math.isnan(low) else f"{values[0]:.3g} ±{(high - low) / 2:.2g}"


def _ratio(one: Array, other: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Array = one / other
    return ratio


def _check(name: str, estimator: Estimator, base: Estimator) -> None:
    if estimator.group_size > base.group_size:
        raise InvalidArgumentError(
            f"estimator {name!r}: 'group_size' must be at most {base.group_size} "
            f"(got {estimator.group_size})"
        )
    if estimator.group_on != base.group_on or estimator.common_chance:
        raise InvalidArgumentError(
            f"estimator {name!r}: 'group_on' must be {base.group_on!r}, and 'common_chance' off"
        )


def _played(trainer: MSGRPOTrainer, groups: int) -> Iterator[EpisodeGroup[Any]]:
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
class _Look:
    """What an estimator makes of one group: its gradient, its cost, and the share of roles without one."""

    gradient_D: torch.Tensor
    generated: int
    trained: int
    silent: float


def _look(
    trainer: MSGRPOTrainer, estimator: Estimator, number: int, group: EpisodeGroup[Any]
) -> _Look:
    part = EpisodeGroup(episodes=group.episodes[: estimator.group_size])
    roles = estimator.role_groups([part], trainer.game.agents)
    rngs = [Stream("signal", trainer.config.seed, number, r) for r in range(len(roles))]
    selected = estimator.draw(roles, rngs)
    rows = estimator.rows(roles, selected, asked=len(roles))
    trainer.optimizer.zero_grad()
    trainer.backward(rows)
    weights = [w for group in trainer.optimizer.param_groups for w in group["params"]]
    parts = [w.new_zeros(w.numel()) if w.grad is None else w.grad.flatten() for w in weights]
    generated, trained = tokens_of(roles, rows)
    return _Look(
        gradient_D=torch.cat(parts).neg_(),
        generated=generated,
        trained=trained,
        silent=silent_share(roles, selected),
    )


class _Tally:
    """Sums over blocks of groups: of gradients, of their squares, and of their products with the true one."""

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self.gradients: list[Any] = [0.0] * BLOCKS
        self.count, self.squares, self.products, self.generated, self.trained, self.silent = (
            np.zeros(BLOCKS) for _ in range(6)
        )

    def add(self, number: int, look: _Look, true_D: torch.Tensor) -> None:
        block = number * BLOCKS // self.groups
        self.gradients[block] = look.gradient_D + self.gradients[block]
        self.count[block] += 1
        self.squares[block] += _product(look.gradient_D, look.gradient_D)
        self.products[block] += _product(look.gradient_D, true_D)
        self.generated[block] += look.generated
        self.trained[block] += look.trained
        self.silent[block] += look.silent

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
            silent_share=float(self.silent.sum()) / self.groups,
        )


def _product(one_D: torch.Tensor, other_D: torch.Tensor) -> float:
    return float(one_D.double() @ other_D.double())


def _with_and_without(blocks: Array) -> Array:
    """The sum over all blocks, then the sums over all but one. Shape (21,)."""
    total = blocks.sum()
    return np.concatenate([[total], total - blocks])


def _of_sums(one: _Tally, other: _Tally) -> Array:
    """The products of summed gradients: of all blocks, then of all but each. Shape (21,)."""
    table = np.array([[_product(a, b) for b in other.gradients] for a in one.gradients])
    return np.concatenate(
        [[table.sum()], table.sum() - table.sum(axis=0) - table.sum(axis=1) + np.diagonal(table)]
    )
