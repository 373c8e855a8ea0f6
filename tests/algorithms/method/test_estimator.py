"""The estimator of a configuration: every setting reaches the step that it is for."""

from typing import Any

import attrs
import pytest

from algorithms import MSGRPOConfig
from algorithms.method.credit import credit_rule
from algorithms.method.episode_sampling import SamplingRule
from algorithms.method.estimator import Estimator
from games import LineWalk
from lap import LanguageAgentPolicy, Sampling, TabularModel, WholeReplyParser
from tsmg import EpisodeGroup, EpisodeKey, EpisodeSpec, Facts, play

OTHER = MSGRPOConfig(
    group_size=4,
    kept_episodes=3,
    std="sample",
    eps=0.5,
    baseline="leave_one_out",
    credit="reward_to_go",
    sampling="uniform",
    replacement=True,
    scope="batch",
    corrected=True,
    weighting="episode",
    group_on="nothing",
)
"""No setting of an estimator with uniform draws is the default."""


def walks() -> EpisodeGroup[Any]:
    """Of lengths 4, 3, 2 and 4, the last two of which arrive."""
    policy = LanguageAgentPolicy(
        model=TabularModel(("left", "right")),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=1),
    )
    specs = [EpisodeSpec[Any](key=EpisodeKey(seed=2, episode=e)) for e in range(4)]
    return EpisodeGroup(episodes=tuple(play(LineWalk(length=4, horizon=4), policy, specs)))  # type: ignore[arg-type]


def test_every_setting_is_taken_over() -> None:
    made = Estimator.of(OTHER, Facts())
    assert made.sampling == SamplingRule(
        kind="uniform", kept=3, replacement=True, scope="batch", corrected=True
    )
    aaw = {"alpha": 2.0, "floor": 0.25}
    floored = attrs.evolve(OTHER, sampling="aaw", **aaw)
    assert attrs.evolve(made.sampling, kind="aaw", **aaw) == Estimator.of(floored, Facts()).sampling
    named = ("group_on", "common_chance", "group_size", "std", "eps", "baseline", "weighting")
    assert all(getattr(made, name) == getattr(OTHER, name) for name in named)


@pytest.mark.parametrize("kind", ["episode", "reward_to_go", "turn", "anchor_state"])
def test_credit_is_that_of_the_settings(kind: Any) -> None:
    """With their std, eps and baseline; so are the advantages by which episodes are drawn."""
    group = walks()
    (found,) = Estimator.of(attrs.evolve(OTHER, credit=kind, corrected=False), Facts()).role_groups(
        [group], ["walker"]
    )
    settings: dict[str, Any] = {"std": "sample", "eps": 0.5, "baseline": "leave_one_out"}
    expected = credit_rule(kind, **settings)(group, "walker")
    assert found.credits_G == tuple(map(tuple, expected))
    whole = credit_rule("episode", **settings)(group, "walker")
    assert found.advantages_G == tuple(credits_T[0] for credits_T in whole)
    assert found.has_signal
    for other in ({"std": "population"}, {"eps": 0.0}, {"baseline": "mean"}):
        assert credit_rule(kind, **{**settings, **other})(group, "walker") != expected


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({"credit": "anchor_state", "anchor_weight": 0.5}, {"anchor_weight": 0.5}),
        (
            {"credit": "max_variance", "sampling": "max_variance", "kept_episodes": 3},
            {"kept": 3},
        ),
    ],
)
def test_a_rule_gets_the_settings_that_are_its_own(
    settings: dict[str, Any], own: dict[str, Any]
) -> None:
    group = walks()
    config = MSGRPOConfig(**{"group_size": 4, "kept_episodes": 4, "std": "none", **settings})
    (found,) = Estimator.of(config, Facts()).role_groups([group], ["walker"])
    expected = credit_rule(config.credit, std="none", eps=config.eps, **own)(group, "walker")
    assert found.credits_G == tuple(map(tuple, expected))
    assert found.credits_G != credit_rule(config.credit, std="none", eps=config.eps)(
        group, "walker"
    )


def test_an_average_moves_by_its_decay() -> None:
    config = MSGRPOConfig(
        group_size=4, kept_episodes=4, credit="role_baseline", baseline_decay=0.75
    )
    made = Estimator.of(config, Facts())
    made.observe(made.role_groups([walks()], ["walker"]))  # returns 0, 0, 1 and 1
    assert made.state() == {"credit": {"walker": 0.75 * 0.25 + 0.25}}


def test_a_rule_of_ones_own_takes_the_place_of_the_named_one() -> None:
    group = walks()
    own = [[7.0] * len(list(episode.completions("walker"))) for episode in group.episodes]
    made = Estimator.of(OTHER, Facts(), credit=lambda group, agent: own)
    (found,) = made.role_groups([group], ["walker"])
    assert found.credits_G == tuple(map(tuple, own))
