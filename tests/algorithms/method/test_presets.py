"""Methods by name."""

import json
import math
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.method.fit_to_game import bias_warnings
from algorithms.method.presets import PRESETS, Preset
from proofs import analyse_estimator
from proofs.estimators.start_weights import pods, start_weights
from proofs.statements.cases import Case, choice_case
from tsmg import Facts, InvalidArgumentError

FACTS = [Facts(perfect_information=seen) for seen in (True, False, None)]


@pytest.mark.parametrize("credit", ["episode", "reward_to_go", "turn", "anchor_state"])
@pytest.mark.parametrize("facts", FACTS)
@pytest.mark.parametrize("group_on", ["auto", "initial_state", "nothing"])
def test_the_corrected_method_is_warned_of_nowhere(credit, facts, group_on):
    settings = PRESETS["ms-grpo-corrected"].settings
    config = MSGRPOConfig(**settings, credit=credit, group_on=group_on)
    assert bias_warnings(config, facts) == []


def test_the_corrected_method_gives_all_starts_one_weight():
    """The condition under which no game of success and failure can be reversed; the default does not meet it."""
    rates = [0.05, 0.3, 0.5, 0.9]
    config = MSGRPOConfig(**PRESETS["ms-grpo-corrected"].settings)
    assert start_weights(config, rates).tolist() == pytest.approx([15 / 16] * 4)
    default = start_weights(MSGRPOConfig(**PRESETS["ms-grpo"].settings), rates)
    assert max(default) > 2 * min(default)


def test_a_method_is_checked_as_settings_are():
    with pytest.raises(InvalidArgumentError, match="'floor' must be at least"):
        Preset(about="none", suggested={"floor": 2.0})


NAMES = [name for name in PRESETS if name != "ms-grpo"]


def config_of(name: str, **settings: Any) -> MSGRPOConfig:
    small = {"groups": 2, "group_size": 4, "kept_episodes": 2, "updates": 1, "max_reply_tokens": 1}
    critic = {"critic": "text"} if name == "ppo" else {}  # a table has no hidden states
    settings = {**small, **critic, **settings}
    return MSGRPOConfig(**{**PRESETS[name].settings, "learning_rate": 0.1, **settings})


def luck(probability: float = 0.5) -> Case:
    """One choice, of which one word succeeds."""
    chances = {"yes": probability, "no": 1 - probability}
    return choice_case({"yes": 1.0, "no": 0.0}, chances, lengths={"no": 2}, size=4)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_trains_and_is_examined(name: str) -> None:
    """On a game of two choices the trainer and the laboratory see the same estimator, and it points up."""
    case = luck()
    config = config_of(name)
    found = analyse_estimator(case.dist, attrs.evolve(config, groups=1))
    assert found.exact and found.cosine > 0.5
    before = case.policy.model.logits.detach().clone()
    trainer = MSGRPOTrainer(game=case.game, policy=case.policy, config=config)
    metrics = trainer.train()[0]
    assert all(math.isfinite(value) for value in metrics.values() if value is not None)
    assert not torch.equal(before, case.policy.model.logits)
    state = trainer.estimator.state()
    assert bool(state) == (name in ("rae", "riskpo", "ppo", "turn-ppo", "hiper"))
    again = Estimator.of(config, case.game.facts)
    again.load_state(json.loads(json.dumps(state)))
    assert again.state() == state
    after = analyse_estimator(case.dist, attrs.evolve(config, groups=1), estimator=again)
    assert math.isfinite(after.variance)


def scale_of(case: Case, **settings: Any) -> float:
    """Of the mean estimate to the true gradient, where it has its direction."""
    found = case.analysis(weighting="constant", eps=1e-9, **settings)
    assert found.exact and found.cosine == pytest.approx(1)
    return found.scale


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_scales_that_are_known(rate: float) -> None:
    """Dr. GRPO has (G - 1) / G of the gradient, RLOO all of it, MaxRL that of a likelihood to the order G - 1."""
    case = choice_case({"yes": 1.0, "no": 0.0}, {"yes": rate, "no": 1 - rate}, size=4)
    known = {"dr-grpo": 3 / 4, "rloo": 1.0, "maxrl": (1 - (1 - rate) ** 3) / rate}
    for name, scale in known.items():
        settings = {
            k: v for k, v in PRESETS[name].settings.items() if k not in ("weighting", "eps")
        }
        assert scale_of(case, **settings) == pytest.approx(scale, abs=1e-6), name


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_pods_is_what_theory_computes_otherwise(rate: float) -> None:
    case = choice_case({"yes": 1.0, "no": 0.0}, {"yes": rate, "no": 1 - rate}, size=4)
    settings = {**PRESETS["pods"].settings, "std": "population"}
    settings.pop("weighting")
    (kappa,) = start_weights(pods(4, 2, eps=1e-9), [rate]).tolist()
    assert scale_of(case, kept_episodes=2, **settings) == pytest.approx(kappa)


def test_a_baseline_of_the_role_leaves_the_gradient_whatever_it_is() -> None:
    case = luck(0.2)
    config = case.config(**PRESETS["rae"].settings)
    for average in (0.0, 0.3, -2.0):
        estimator = Estimator.of(config, case.game.facts)
        estimator.load_state({"credit": {"player": average}})
        found = analyse_estimator(case.dist, config, estimator=estimator)
        assert (found.cosine, found.scale) == pytest.approx((1, 1))


def test_what_a_method_is_cannot_be_overridden() -> None:
    for name, preset in PRESETS.items():
        preset.check(preset.settings, name=name)
        for setting in preset.fixed:
            with pytest.raises(
                InvalidArgumentError, match=f"{name!r}.*{setting!r}".replace("+", r"\+")
            ):
                preset.check({setting: "other"}, name=name)
    PRESETS["pods"].check({"kept_episodes": 3, "eps": 0.0}, name="pods")


def test_a_method_says_what_is_its_sources_and_what_is_ours() -> None:
    for name, preset in PRESETS.items():
        assert bool(preset.source) == bool(preset.ours) == (not name.startswith("ms-grpo"))
    told = PRESETS["rae"].description({"baseline_decay": 0.5}).splitlines()
    assert told[0].startswith(
        "kl_coefficient 0.0 (default 0.03), credit 'role_baseline' (default 'episode')"
    )
    assert told[1].startswith("  [source] SPIRAL, arXiv:2506.24119")
    assert told[2].startswith("  [ours] the average moves after an update") and len(told) == 3


def test_the_page_has_every_method_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/methods.md").read_text()
    for name, preset in PRESETS.items():
        cells = [f"`{name}`", preset.about, preset.differences({}), preset.source, preset.ours]
        assert f"| {' | '.join(cells)} |" in page, name
