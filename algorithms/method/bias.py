"""What the settings of a method get wrong in a game: why the expected estimate turns away from the gradient.

Nothing slow is imported here, so that the command line can refuse bad settings at once.
"""

from algorithms.method.config import MSGRPOConfig, resolved_std, shares_what_is_hidden
from tsmg import Facts

# Rules whose credit is 0 exactly where the score is by which an episode is drawn.
_CREDIT_WITH_SCORE = ("episode", "mean_divided", "length_gated", "role_baseline")


def bias_warnings(config: MSGRPOConfig, facts: Facts) -> list[str]:
    """What the settings get wrong in a game with these facts: why the expected estimate turns away from the gradient.

    Named are combinations that a neighbouring setting mends: weights of groups that share what agents cannot see, and
    corrections that do not correct. That starts of unlike difficulty have unlike weights is not among them
    (``docs/theory/06_baselines_and_std.md``, "Several starts").

    Args:
      config: the settings.
      facts: facts of the game that is played.

    Returns:
      A sentence for each; nothing where there is nothing to say.

    Theory: Equation 6.4, Theorem 8.3, Equation 8.7.
    """
    found = []
    weighed = config.sampling in ("aaw", "optimal") and config.floor < 1
    if shares_what_is_hidden(config, facts):
        shared = "although the members of a group share what agents cannot see; this can reverse which action is better"
        if config.credit == "mean_divided":
            found.append(f"'credit' 'mean_divided' divides by the group's mean return {shared}")
        if resolved_std(config, facts) != "none":
            found.append(
                f"'std' is {config.std!r} {shared} (std 'none' cannot, without a draw by advantage or with 'corrected')"
            )
        if weighed and not config.corrected:
            found.append(
                f"'sampling' is {config.sampling!r} without 'corrected' {shared}, with std 'none' too ('corrected' "
                "cannot)"
            )
    if config.sampling == "optimal" and weighed and not config.corrected:
        found.append(
            "'sampling' is 'optimal' without 'corrected': surprising replies are weighed more than their share, which "
            "turns the direction ('corrected', or sampling 'aaw' or 'all')"
        )
    bare = config.sampling == "aaw" and not config.floor
    for name, restored in (("credit", _CREDIT_WITH_SCORE), ("batch_rule", ("none",))):
        value = getattr(config, name)
        if config.corrected and bare and value not in restored:
            found.append(
                f"'corrected' draws do not restore {name.replace('_', ' ')} {value!r}: an episode of score 0 (of "
                "average return, say) is never drawn, although its steps may have credit ('floor' above 0, sampling "
                f"'optimal' or 'all', or {name} {restored[0]!r})"
            )
    return found
