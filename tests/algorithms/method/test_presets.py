"""Methods by name."""

import pytest

from algorithms import MSGRPOConfig
from algorithms.method.config import bias_warnings
from algorithms.method.presets import PRESETS, Preset
from proofs.estimators.start_weights import start_weights
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
        Preset(about="none", settings={"floor": 2.0})
