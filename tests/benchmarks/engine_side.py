"""What ``engine.py`` measures, each command in a process of its own; a line of JSON a figure.

    python tests/benchmarks/engine_side.py prepare | plain | rates | ways | size | export [--groups N]

``prepare`` makes the behaviour-cloned model, so that no other command counts its making; ``export`` is our side
against TRL. Times are CPU times of one thread.
"""

import argparse
import copy
import gc
import json
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

import algorithms
import games
from algorithms import MSGRPOConfig, MSGRPOTrainer
from algorithms.method.batch import TrainingRow
from algorithms.play.rollouts import collect_groups
from algorithms.training.metrics import Update
from lap import LanguageAgentPolicy, TransformersModel
from tsmg import Completion, EpisodeGroup, Reply, Request, Stream

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests and examples are packages

from examples.ms_grpo_loop import backward
from tests.benchmarks.plain_loop import ROWS, PlainTrainer, plain_row

GAME = games.make("FrozenLake-v0", horizon=8)
# The rate is so small that an update leaves the policy where it is: every update has the same work.
SETTINGS = MSGRPOConfig(
    updates=1000,
    groups=8,
    group_size=16,
    learning_rate=1e-6,
    schedule="constant",
    kl_coefficient=0.0,
)
EXPORTED = 6  # updates against TRL, the first not timed
WIDE = 32  # groups of an update whose rates are measured, and the least number of distinct prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=tuple(COMMANDS))
    parser.add_argument("--groups", type=int, default=SETTINGS.groups)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    COMMANDS[arguments.command](arguments)


def say(what: str, *, ours: float, theirs: float | None = None, unit: str) -> None:
    """A figure: of one side, or of two."""
    tell(what=what, ours=ours, theirs=theirs, unit=unit)


def tell(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


def policy() -> LanguageAgentPolicy[TransformersModel]:
    return algorithms.cloned_policy(GAME)


def ours(**settings: Any) -> MSGRPOTrainer:
    return MSGRPOTrainer(game=GAME, policy=policy(), config=attrs.evolve(SETTINGS, **settings))


def seconds(act: Callable[[], object]) -> float:
    """CPU time, garbage of earlier work apart."""
    gc.collect()
    start = time.process_time()
    act()
    return time.process_time() - start


def medians(repetitions: int, *sides: Callable[[], object]) -> list[float]:
    """Median seconds of each side; they take turns, the first turn unseen."""
    turns = [[seconds(side) for side in sides] for _ in range(repetitions + 1)][1:]
    return [statistics.median(side) for side in zip(*turns, strict=True)]


def prepare(arguments: argparse.Namespace) -> None:
    """Make the behaviour-cloned model, or find it."""
    policy()


# ---- against the plain loop ----------------------------------------------------------------------


def plain(arguments: argparse.Namespace) -> None:
    """Updates and learning passes of both sides, then their gradients on one batch of records."""
    rows = against_the_loop("all episodes learnt from", arguments, sampling="all")
    against_the_loop("8 of 16 drawn", arguments, sampling="aaw")
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.")
        difference = gradient_difference(rows, dtype)
        say(f"difference of the gradients, {name}", ours=difference, unit="relative")


def against_the_loop(
    name: str, arguments: argparse.Namespace, **settings: Any
) -> list[TrainingRow]:
    """Time both sides; returns the records that the learning passes were timed on."""
    trainer = ours(groups=arguments.groups, **settings)
    loop = PlainTrainer(GAME, policy().model, trainer.config)
    turns = medians(arguments.repetitions, trainer.update, loop.update)
    say(f"one update, {name}", ours=turns[0], theirs=turns[1], unit="seconds")
    rows = recorded(trainer)
    plain_rows = [plain_row(row) for row in rows]
    turns = medians(
        arguments.repetitions,
        lambda: trainer.backward(rows),
        lambda: backward(loop.network, plain_rows, clip=SETTINGS.clip, size=ROWS),
    )
    say(f"learning pass, {name}", ours=turns[0], theirs=turns[1], unit="seconds")
    return rows


def recorded(trainer: MSGRPOTrainer) -> list[TrainingRow]:
    """The rows of one update."""
    groups = trainer.update().rollouts.groups
    role_groups = trainer.estimator.role_groups(groups, GAME.agents)
    streams = [Stream("engine", index) for index, _ in enumerate(role_groups)]
    selected = trainer.estimator.draw(role_groups, streams)
    return trainer.estimator.rows(role_groups, selected, asked=len(role_groups))


def gradient_difference(rows: Sequence[TrainingRow], dtype: torch.dtype) -> float:
    """Norm of the difference over norm, of the two learning passes on these rows."""
    start = policy()
    found = []
    for side in (ours_gradient, plain_gradient):
        network = copy.deepcopy(start.model.network).to(dtype)
        found.append(side(network, start, rows))
    return float((found[0] - found[1]).norm() / found[1].norm())


def ours_gradient(
    network: Any, start: LanguageAgentPolicy[TransformersModel], rows: Sequence[TrainingRow]
) -> torch.Tensor:
    model = TransformersModel(network, start.model.tokenizer, chat=False)
    trainer = MSGRPOTrainer(game=GAME, policy=attrs.evolve(start, model=model), config=SETTINGS)
    trainer.backward(rows)
    return flat_gradient(trainer.policy.model.network)


def plain_gradient(
    network: Any, start: LanguageAgentPolicy[TransformersModel], rows: Sequence[TrainingRow]
) -> torch.Tensor:
    backward(network, [plain_row(row) for row in rows], clip=SETTINGS.clip, size=ROWS)
    return flat_gradient(network)


def flat_gradient(network: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten().double() for p in network.parameters()])


# ---- rates against dense passes ------------------------------------------------------------------


class Fed:
    """What a network is given while something happens: rows, tokens, and those of the tokens that are no padding.

    Args:
      network: a language model.
      act: what happens.
    """

    def __init__(self, network: Any, act: Callable[[], object]) -> None:
        self.rows = self.tokens = self.real = 0
        hook = network.register_forward_pre_hook(self._count, with_kwargs=True)
        act()
        hook.remove()

    def _count(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if "attention_mask" not in kwargs:  # the head alone
            return
        ids = kwargs["input_ids"]
        self.rows += len(ids)
        self.tokens += ids.numel()
        self.real += real_tokens(kwargs["attention_mask"], ids.shape[1])


def real_tokens(mask: torch.Tensor, width: int) -> int:
    """How many of a batch's last tokens are no padding; in a mask of who attends to whom, padding is alone."""
    if mask.ndim == 2:
        return int(mask[:, -width:].sum())
    sees = mask if mask.dtype == torch.bool else mask == 0
    own = sees[:, 0, :, -width:]
    alone = (sees[:, 0].sum(-1) == 1) & (own.sum(-2) == 1)
    return int((~alone).sum())


def contexts(completions: Sequence[Completion]) -> int:
    """How many different contexts a token was chosen at."""
    return len(
        {(c.prompt_ids, c.reply_ids[:n]) for c in completions for n in range(len(c.reply_ids))}
    )


def rates(arguments: argparse.Namespace) -> None:
    """The learning pass and the sampling pass against dense passes over as many tokens."""
    trainer = ours(groups=max(arguments.groups, WIDE))
    network = trainer.policy.model.network
    rows = recorded(trainer)
    fed = Fed(network, lambda: trainer.backward(rows))
    dense = Dense(
        network, fed.real, rows=fed.rows, logits=contexts([row.completion for row in rows])
    )
    turns = medians(arguments.repetitions, lambda: trainer.backward(rows), dense.learn)
    say_rates(f"learning pass, {len(rows)} calls", fed, turns)
    steps = [Sampler(trainer.policy, requests) for requests in requests_of(trainer)]
    wide = sorted((step for step in steps if step.prompts >= WIDE), key=lambda step: step.prompts)
    for sampler in (wide[0], wide[-1]):
        fed = Fed(network, sampler.sample)
        logits = contexts(sampler.sample())
        dense = Dense(network, fed.real, rows=sampler.prompts, logits=logits)
        turns = medians(arguments.repetitions, sampler.sample, dense.look)
        what = f"sampling pass, {len(sampler.asked)} requests, {sampler.prompts} prompts"
        say_rates(what, fed, turns)


def say_rates(what: str, fed: Fed, turns: Sequence[float]) -> None:
    """Tokens a second of both sides, padding apart, and how much padding there was."""
    engine, dense = (fed.real / turn for turn in turns)
    say(what, ours=engine, theirs=dense, unit="tokens a second")
    padding = 1 - fed.real / fed.tokens
    say(f"padding of the {what}", ours=padding, unit="share of the tokens computed")


class Dense:
    """Passes over a batch without padding, 64 rows at a time.

    Args:
      network: the language model.
      tokens: how many.
      rows: how many they are in.
      logits: at how many positions logits are computed.
    """

    def __init__(self, network: Any, tokens: int, *, rows: int, logits: int) -> None:
        self.network = network
        length = round(tokens / rows)
        rows = round(tokens / length)
        self.keep = min(length, max(1, round(logits / rows)))
        draw = torch.Generator().manual_seed(0)
        self.parts = torch.randint(1, 256, (rows, length), generator=draw).split(ROWS)

    def _logits(self) -> Iterator[torch.Tensor]:
        for ids in self.parts:
            yield self.network(input_ids=ids, use_cache=False, logits_to_keep=self.keep).logits

    def learn(self) -> None:
        """Forward and backward."""
        for logits in self._logits():
            torch.log_softmax(logits, dim=-1)[..., 0].sum().backward()

    @torch.no_grad()
    def look(self) -> None:
        """Forward alone."""
        for _ in self._logits():
            pass


@attrs.frozen
class Listener:
    """Plays as the policy does, and keeps what it is asked."""

    policy: LanguageAgentPolicy[Any]
    heard: list[Sequence[Request]] = attrs.field(factory=list)

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        self.heard.append(requests)
        return self.policy.reply(requests)


def requests_of(trainer: MSGRPOTrainer) -> list[Sequence[Request]]:
    """What the policy is asked at each step of an update."""
    listener, c = Listener(trainer.policy), trainer.config
    collect_groups(GAME, listener, seed=c.seed, update=0, groups=c.groups, group_size=c.group_size)
    return listener.heard


class Sampler:
    """The sampling pass of one step.

    Args:
      policy: who is asked.
      requests: what.
    """

    def __init__(
        self, policy: LanguageAgentPolicy[TransformersModel], requests: Sequence[Request]
    ) -> None:
        self.policy, self.requests = policy, requests
        self.asked = [policy.reply_key(request) for request in requests]
        self.prompts = len(set(self.asked))

    def sample(self) -> list[Completion]:
        return self.policy.model.sample(
            self.asked,
            [request.stream() for request in self.requests],
            sampling=self.policy.sampling,
            stop_criterion=self.policy.parser.is_complete,
        )


# ---- other ways to sample ----------------------------------------------------------------------------


def ways(arguments: argparse.Namespace) -> None:
    """The replies of one step, by the engine and by what the transformers library offers."""
    trainer = ours(groups=WIDE)
    loop = PlainTrainer(GAME, policy().model, trainer.config)
    steps = [Sampler(trainer.policy, requests) for requests in requests_of(trainer)]
    sampler = max(steps, key=lambda step: step.prompts)
    texts = [prompt.text for prompt in sampler.asked]
    ids = [loop.tokenizer(text)["input_ids"] for text in texts]
    static = copy.deepcopy(loop.generation)
    static.cache_implementation = "static"
    theirs: dict[str, Callable[[], object]] = {
        "generate": lambda: loop.replies(texts),
        "generate, static cache": lambda: loop.replies(texts, static),
        "continuous batching": lambda: loop.network.generate_batch(ids, loop.generation),
    }
    for name, act in theirs.items():
        repetitions = 1 if name == "continuous batching" else arguments.repetitions
        turns = medians(repetitions, sampler.sample, act)
        what = f"{len(texts)} replies to {sampler.prompts} prompts, {name}"
        say(what, ours=turns[0], theirs=turns[1], unit="seconds")


# ---- many episodes -------------------------------------------------------------------------------


def size(arguments: argparse.Namespace) -> None:
    """Cost of an episode and memory at one size of the update."""
    trainer = ours(groups=arguments.groups)
    updates: list[Any] = []

    def act() -> None:
        updates.clear()  # the records of one update at a time
        updates.append(trainer.update())

    (second,) = medians(arguments.repetitions, act)
    tell(
        milliseconds=1000 * second / (arguments.groups * SETTINGS.group_size),
        peak=peak_megabytes(),
        records=bytes_of(updates[0].rollouts) / 2**20,
    )


def peak_megabytes() -> float:
    """The greatest resident memory of this process, from Linux's own account.

    ``getrusage`` would also count what the parent had before this program was loaded.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) / 1024


def bytes_of(root: object) -> int:
    """The size of all that an object holds, each thing counted once; types, functions and modules apart."""
    seen: set[int] = set()
    left, total = [root], 0
    while left:
        thing = left.pop()
        if id(thing) in seen or isinstance(thing, type | types.FunctionType | types.ModuleType):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        left += gc.get_referents(thing)
    return total


# ---- our side against TRL ------------------------------------------------------------------------


def export(arguments: argparse.Namespace) -> None:
    """Time our own updates, all episodes learnt from, and write their maps and the model for the other side."""
    trainer = ours(groups=arguments.groups, sampling="all")
    policy().model.save_pretrained(arguments.folder / "seed")
    updates: list[Update] = []
    turns = [seconds(lambda: updates.append(trainer.update())) for _ in range(EXPORTED)]
    maps = [[grid_of(group) for group in update.rollouts.groups] for update in updates]
    (arguments.folder / "maps.json").write_text(json.dumps(maps))
    length, tokens = (
        statistics.mean(update.metrics[name] for update in updates[1:])
        for name in ("episode_length", "trained_tokens")
    )
    moves = length * arguments.groups * SETTINGS.group_size
    tell(seconds=statistics.median(turns[1:]), moves=moves, tokens=tokens)


def grid_of(group: EpisodeGroup[Any]) -> str:
    """The map of a group, with the player at its start."""
    return GAME.observation_text(group.episodes[0].steps[0].state.state, *GAME.agents)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "prepare": prepare,
    "plain": plain,
    "rates": rates,
    "ways": ways,
    "size": size,
    "export": export,
}

if __name__ == "__main__":
    main()
