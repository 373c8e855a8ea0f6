"""Learning in games of several players, and in Snake: from the behaviour-cloned model to the figures of
docs/how_to/self_play.md.

    python tests/benchmarks/learning.py tic-tac-toe | kuhn-fixed | kuhn-self | snake [--seeds 0 1 ...] [--updates N]

Each figure of Kuhn poker is exact: the policy's induced distribution is put through the whole tree of the game.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import algorithms
import games
import tsmg
from algorithms import MSGRPOConfig, MSGRPOTrainer
from algorithms.play.matchups import AlternatingRoles, FixedOpponents
from algorithms.play.rollouts import fixed_starts
from proofs import InducedPlayer, best_response_return, expected_returns, nash_conv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--updates", type=int, default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings: dict[str, Any] = {}
    for setting in arguments.set:
        name, _, value = setting.partition("=")
        settings[name] = type(getattr(MSGRPOConfig(), name))(value)
    if arguments.updates is not None:
        settings["updates"] = arguments.updates
    for seed in arguments.seeds:
        started = time.monotonic()
        STUDIES[arguments.study](seed, settings)
        print(f"seed {seed}: {time.monotonic() - started:.0f} seconds", flush=True)


def policy_of(game: Any, seed: int, steps: int = 400) -> Any:
    """The game's behaviour-cloned model."""
    return algorithms.cloned_policy(game, config=algorithms.CloningConfig(seed=seed, steps=steps))


def train(trainer: MSGRPOTrainer, report: Callable[[], str], parts: int = 4) -> None:
    """All updates, with a line now and then."""
    print(f"update 0: {report()}", flush=True)
    updates = trainer.config.updates
    for part in range(1, parts + 1):
        while trainer.update_index < updates * part // parts:
            metrics = trainer.update().metrics
        print(
            f"update {trainer.update_index}: {report()}; entropy {metrics['entropy']:.3f}, "
            f"invalid {metrics['invalid_rate']:.4f}",
            flush=True,
        )


def tic_tac_toe(seed: int, settings: dict[str, Any]) -> None:
    """Non-loss against a uniform player, in both roles; bar: from at most 0.75 to at least 0.95."""
    game = games.make("TicTacToe-v0")
    uniform = tsmg.PlayerPolicy(game, tsmg.UniformPlayer(game))
    config = MSGRPOConfig(**{"seed": seed, "kept_episodes": 16, **settings})
    trainer = MSGRPOTrainer(
        game=game, policy=policy_of(game, seed), config=config, matchups=AlternatingRoles(uniform)
    )

    def report() -> str:
        sampled, greedy = (trainer.evaluate(1000, temperature=t).success_rate for t in (1.0, 0.0))
        return f"not lost {sampled:.3f} sampled, {greedy:.3f} greedy"

    train(trainer, report)


def kuhn_fixed(seed: int, settings: dict[str, Any]) -> None:
    """The gap to the best response to a uniform second player; bar: 95% of it closed."""
    game = games.make("KuhnPoker-v0")
    uniform = tsmg.UniformPlayer(game)
    other = {"second": uniform}
    best = best_response_return(game, other, "first")
    config = MSGRPOConfig(**{"seed": seed, "updates": 50, **settings})
    trainer = MSGRPOTrainer(
        game=game,
        policy=policy_of(game, seed, steps=200),
        config=config,
        matchups=FixedOpponents({"second": tsmg.PlayerPolicy(game, uniform)}),
    )

    def value() -> float:
        first = InducedPlayer(game, trainer.policy)
        return expected_returns(game, {"first": first, **other})["first"]

    start = value()
    train(
        trainer,
        lambda: (
            f"value {value():.4f} of {best:.4f}, gap closed {(value() - start) / (best - start):.3f}"
        ),
    )


def kuhn_self(seed: int, settings: dict[str, Any]) -> None:
    """NashConv of the last iterate in self-play; bar: at most half of the start.

    Self-play cycles unless something holds it: here the KL to the behaviour-cloned model, which plays nearly uniformly.
    """
    game = games.make("KuhnPoker-v0")
    towards_the_start = {"kl_coefficient": 0.2, "regulariser_schedule": "constant"}
    config = MSGRPOConfig(
        **{"seed": seed, "updates": 100, "learning_rate": 4e-4, **towards_the_start, **settings}
    )
    trainer = MSGRPOTrainer(game=game, policy=policy_of(game, seed, steps=200), config=config)

    def conv() -> float:
        player = InducedPlayer(game, trainer.policy)
        return nash_conv(game, {"first": player, "second": player})

    start = conv()
    train(trainer, lambda: f"NashConv {conv():.4f}, {conv() / start:.3f} of the start")


def snake(seed: int, settings: dict[str, Any]) -> None:
    """The return in Snake 6 x 6 alone; bar: a rise of at least 1.0, its 95% interval above 0."""
    game = games.make("SmallSnake-v0")
    small = {"groups": 8, "group_size": 8, "kept_episodes": 4, "learning_rate": 1e-3, "updates": 12}
    config = MSGRPOConfig(**{"seed": seed, **small, **settings})
    trainer = MSGRPOTrainer(game=game, policy=policy_of(game, seed), config=config)
    agent = game.agents[0]

    def returns() -> list[float]:
        specs = fixed_starts(game, 300, seed=0)
        records = tsmg.play(game, trainer.policy, specs)
        return [r.episode_return(agent) for r in records if isinstance(r, tsmg.Episode)]

    start = returns()

    def rise() -> str:
        rises = [b - a for a, b in zip(start, returns(), strict=True)]
        error = 1.96 * statistics.stdev(rises) / len(rises) ** 0.5 if any(rises) else 0.0
        return f"rise of the return {statistics.mean(rises):.3f} +- {error:.3f} from {statistics.mean(start):.3f}"

    train(trainer, rise)


STUDIES: dict[str, Callable[[int, dict[str, Any]], None]] = {
    "tic-tac-toe": tic_tac_toe,
    "kuhn-fixed": kuhn_fixed,
    "kuhn-self": kuhn_self,
    "snake": snake,
}

if __name__ == "__main__":
    main()
