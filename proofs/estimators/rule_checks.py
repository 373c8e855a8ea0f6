"""Whether the rules of an estimator are what an exact analysis takes them for: pure, and blind to the members' order.

Both are tried on one group, so that a rule can still break them elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from algorithms import Estimator
from algorithms.method.advantages import Advantage
from algorithms.method.batch import RoleGroup
from algorithms.method.rules import rule_name
from proofs.estimators.batches import Batches, candidate_starts
from proofs.exact.gradients import Array
from tsmg import InvalidArgumentError, Stream

Answers: TypeAlias = Mapping[str, object]
"""What rules return, by their place in the estimator."""


def answers_of(batches: Batches) -> Answers:
    """What the rules make of one group whose members differ as far as they can, and of the starts."""
    estimator = batches.estimator
    group, _ = batches.branches.drawn(_different(batches), Stream("rules"))
    roles = batches.roles([group])
    passed = estimator.passed(roles)
    law = estimator.start_law(candidate_starts(batches.dist) if batches.starts else [])
    return {
        "credit": roles,
        "group_filter": passed,
        "batch_rule": estimator.over_batch(passed),
        "sampling": estimator.draw(roles, [Stream("draw", n) for n in range(len(roles))]),
        "starts": law.probabilities if law else (),
    }


def check_same(estimator: Estimator, before: Answers, after: Answers) -> None:
    """Refuse rules that answer the same question differently.

    Args:
      estimator: whose rules they are.
      before: what they answered.
      after: what they answered another time.

    Raises:
      InvalidArgumentError: one did; the message names it.
    """
    for place, answer in before.items():
        if answer != after[place]:
            raise InvalidArgumentError(
                f"{rule_name(getattr(estimator, place))} must return the same for the same group; what it remembers "
                "belongs in a state (algorithms.method.rules.StatefulRule)"
            )


def treats_members_alike(batches: Batches) -> bool:
    """Whether scores, credit and draw of each member stay the same if the members change places.

    An exact analysis lists the members of a group in one order only. Those of a tree are not alike, and their order is
    not changed.
    """
    if batches.estimator.branching is not None:
        return True
    numbers = _different(batches)
    first = list(range(len(numbers)))
    swap, turn = [*first[1::-1], *first[2:]], [*first[1:], 0]  # the two make every order
    ours = _by_member(batches, numbers)
    return all(
        np.allclose(_by_member(batches, [numbers[n] for n in order]), ours[order], rtol=1e-6)
        for order in (swap, turn)
    )


def _different(batches: Batches) -> list[int]:
    """The numbers of trajectories that a group can have, as many different ones as there are."""
    members = max((kind.members for kind in batches.kinds), key=len)
    return [int(e) for e in np.resize(members, batches.branches.roots)]


def _by_member(batches: Batches, numbers: Sequence[int]) -> Array:
    """What the rules say of each member, in all roles: score, expected weight, credit. A row for each member."""
    group, _ = batches.branches.drawn(numbers, Stream("rules"))
    return np.concatenate(
        [
            np.array(
                [
                    role.advantages_G,
                    _expected_weights_G(batches.estimator, role),
                    *np.transpose([_summary(row) for row in role.credits_G]),
                ]
            ).T
            for role in batches.roles([group])
        ],
        axis=1,
    )


def _expected_weights_G(estimator: Estimator, role: RoleGroup) -> Array:
    """The expected weight with which each episode of a group is trained on. Shape (G,)."""
    expected_G = np.zeros(len(role.returns_G))
    for selected, p in estimator.draw_dist([role]).enumerate():
        for chosen in selected:
            expected_G[chosen.episode] += float(p) * chosen.weight
    return expected_G


def _summary(row: Sequence[Advantage]) -> tuple[float, float]:
    """The sum of an episode's advantages, and that of each times its place: two numbers for episodes of any length."""
    flat = np.concatenate([np.zeros(0), *(np.atleast_1d(a) for a in row)])
    return float(flat.sum()), float(flat @ np.arange(len(flat)))
