"""What is read after an episode is what the longer game goes on with."""

import pytest

import games
from algorithms.method.critic import CriticCredit
from algorithms.method.value_functions import TableCritic
from algorithms.play.after_episodes import read_at_end
from algorithms.play.rollouts import collect_groups
from lap import (
    ContextLengthError,
    LanguageAgentPolicy,
    LastTurnsPrompt,
    Sampling,
    TabularModel,
    WholeReplyParser,
)
from tsmg import Ending


def groups(game, policy):
    return collect_groups(
        game,
        {"walker": policy},
        seed=1,
        update=0,
        groups=[0],
        group_size=12,
        group_on="nothing",
        common_chance=False,
        max_failure_rate=0.0,
    ).groups


def make_policy(model=None):
    return LanguageAgentPolicy(
        model=model or TabularModel(("left", "right", "back")),
        prompt=LastTurnsPrompt(turns=1),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=1),
    )


class ShortContext(TabularModel):
    """A model to which no prompt is short enough."""

    def check_prompts(self, prompts, *, sampling):
        raise ContextLengthError("too long")


def test_nothing_follows_where_the_next_prompt_does_not_fit():
    """Such an agent could not have gone on: its episode has the advantages of one that ended."""
    game = games.make("LineWalk-v0", length=9, horizon=2)
    (group,) = groups(game, make_policy())
    found = {}
    for model in (TabularModel(("left", "right", "back")), ShortContext(("left", "right", "back"))):
        rule = CriticCredit(TableCritic, bootstrap=True)
        rule.critics["walker"] = TableCritic()
        rule.critics["walker"].mean = 0.5
        rule.bind(read_at_end(game, {"walker": make_policy(model)}))
        found[type(model)] = rule(group, "walker")
    ended = CriticCredit(TableCritic)
    ended.critics["walker"] = TableCritic()
    ended.critics["walker"].mean = 0.5
    assert found[ShortContext] == ended(group, "walker") != found[TabularModel]


@pytest.mark.parametrize("limit", [1, 2])
def test_the_prompt_at_a_limit_is_the_next_one_without_it(limit: int) -> None:
    """Past turns and the invalid rule's feedback included; episodes of equal keys begin alike."""
    policy = make_policy()
    short, long = (
        games.make("LineWalk-v0", length=9, horizon=horizon) for horizon in (limit, limit + 2)
    )
    read = read_at_end(short, {"walker": policy})
    (cut,), (whole,) = groups(short, policy), groups(long, policy)
    prompts = []
    for before, after in zip(cut.episodes, whole.episodes, strict=True):
        if len(after.steps) <= limit:
            continue
        assert before.ending is Ending.TRUNCATED
        completion = read(before, "walker")
        (_, following) = list(after.completions("walker"))[limit]
        assert completion.prompt_text == following.prompt_text
        assert completion.prompt_ids == following.prompt_ids
        prompts.append(completion.prompt_text)
    assert len(set(prompts)) > 2
