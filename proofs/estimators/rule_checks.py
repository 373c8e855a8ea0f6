"""Whether the rules of an estimator are what an exact analysis takes them for: pure, and blind to the members' order.

Both are tried on one group, so that a rule can still break them elsewhere.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np

from algorithms import Estimator
from algorithms.method.advantages import Advantage
from algorithms.method.batch import RoleGroup
from algorithms.method.branching import tree_numbers
from algorithms.method.rule_answers import check_same_answer
from proofs.estimators.batches import Batches, Kind, candidate_starts
from proofs.estimators.branches import Branches, Group
from proofs.exact.gradients import Array
from tsmg import BranchPoint, Stream

Answers: TypeAlias = Mapping[str, object]
"""What rules return, by their place in the estimator."""


def answers_of(batches: Batches) -> Answers:
    """What the rules make of one group whose members differ as far as they can, and of the starts."""
    estimator = batches.estimator
    kind, group = _probe(batches)
    roles = batches.roles([group], [kind])
    passed = estimator.passed(roles)
    law = estimator.start_law(candidate_starts(batches.dist) if batches.starts else [])
    return {
        "branching": _branches_of(group),  # before the credit, which looks at them
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
        check_same_answer(answer, after[place], rule=getattr(estimator, place))


def treats_members_alike(batches: Batches) -> bool:
    """Whether what passes, and scores, credit and draw of each member, stay the same if members change places.

    An exact analysis lists the members of a group in one order only, and likewise the branches of a tree and the
    rollouts from a state. It does not list the branches of other rules.
    """
    kind, group = _probe(batches)
    agents, ours = _by_member(batches, kind, group)
    for order in _orders(batches, group):
        found, theirs = _by_member(batches, kind, _reordered(group, order))
        if found != agents or not np.allclose(theirs, ours[order], rtol=1e-6):
            return False
    return True


def _probe(batches: Batches) -> tuple[Kind, Group]:
    """A group whose members differ as far as they can, above all in their returns; and its kind."""
    found = [(kind, _different_first(batches, kind)) for kind in batches.kinds]
    kind, (_, members) = max(found, key=lambda pair: (pair[1][0], len(pair[1][1])))
    numbers = [int(e) for e in np.resize(members, batches.branches.roots)]
    group, _ = batches.branches.drawn(numbers, Stream("rules"))
    if batches.branches.rollouts:
        group = _with_different_rollouts(batches.branches, group, numbers)
    return kind, group


def _with_different_rollouts(branches: Branches, group: Group, numbers: list[int]) -> Group:
    """The group of a vine with as many different outcomes of the rollouts from each state as there are."""
    values, rollouts = branches.values(group, numbers), []
    for found in group.rollouts:
        outcomes = itertools.cycle([outcome.returns_N for outcome in values[found.point]])
        returns_K_N = tuple(itertools.islice(outcomes, branches.rollouts))
        rollouts.append(attrs.evolve(found, returns_K_N=returns_K_N))
    return attrs.evolve(group, rollouts=tuple(rollouts))


def _different_first(batches: Batches, kind: Kind) -> tuple[int, list[int]]:
    """How many different returns the trajectories of a kind have; and these, each of its return before any other."""
    seen: dict[tuple[float, ...], int] = {}
    rounds: dict[int, int] = {}
    for e in kind.members.tolist():
        episode = batches.dist.trajectories[e].episode
        returns = tuple(episode.episode_return(agent) for agent in batches.dist.learners)
        rounds[e] = seen[returns] = seen.get(returns, -1) + 1
    return len(seen), sorted(rounds, key=lambda e: rounds[e])


def _orders(batches: Batches, group: Group) -> Iterator[list[int]]:
    """Orders of a group's members in which each stands at each place, and the first two also the other way round.

    Branches follow all the members that begin at the start, as the trainer has them, or each the one that it left.
    """
    size, roots = len(group.episodes), batches.branches.roots
    parts = [range(roots), range(roots, size)]
    for turn in range(max(map(len, parts))):
        turned = [[part[(n + turn) % len(part)] for n in range(len(part))] for part in parts]
        yield [place for part in turned for place in part]
        yield [place for part in turned for place in (*part[1::-1], *part[2:])]
    if group.origins:
        trees = tree_numbers(group)
        yield sorted(range(size), key=lambda place: trees[place])


def _reordered(group: Group, order: Sequence[int]) -> Group:
    """A group with its members in another order, and with its rollouts backwards."""
    places = {before: now for now, before in enumerate(order)}

    def moved(point: BranchPoint) -> BranchPoint:
        return attrs.evolve(point, episode=places[point.episode])

    origins = [group.origins[n] for n in order] if group.origins else []
    return attrs.evolve(
        group,
        episodes=tuple(group.episodes[n] for n in order),
        origins=tuple(None if origin is None else moved(origin) for origin in origins),
        rollouts=tuple(
            attrs.evolve(found, point=moved(found.point), returns_K_N=found.returns_K_N[::-1])
            for found in reversed(group.rollouts)
        ),
    )


def _branches_of(group: Group) -> object:
    """Where the branches of a group begin, and how many rollouts do at each state."""
    rollouts = [(found.point, len(found.returns_K_N)) for found in group.rollouts]
    return group.origins, rollouts


def _by_member(batches: Batches, kind: Kind, group: Group) -> tuple[list[str], Array]:
    """What the rules say of each member: score, expected weight, credit. A row for each member.

    In all roles, and again, compared over the batch, in those that pass, whose agents come first; if none passes, in
    all of them.
    """
    roles = batches.roles([group], [kind])
    passed = batches.estimator.passed(roles)
    changed = batches.estimator.over_batch(passed or roles)
    columns = [
        np.array(
            [
                role.advantages_G,
                _expected_weights_G(batches.estimator, role),
                *np.transpose([_summary(row) for row in role.credits_G]),
            ]
        ).T
        for role in (*roles, *changed)
    ]
    return [role.agent for role in passed], np.concatenate(columns, axis=1)


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
