"""MS-GRPO the plain way: what ``engine.py`` compares this library with, and what its gradients are checked against.

All episodes are played in lockstep by ``generate``, on a left-padded batch of those that are not over, and learnt from
in padded rows of a prompt and its reply, with logits at every position. Nothing is shared between episodes. A reply
ends at the closing tag, which is one token. There is one pass over each batch, so the old log-probabilities are the
present ones.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor
from transformers import GenerationConfig

from algorithms import MSGRPOConfig, group_relative_advantages, policy_loss, select_episodes
from algorithms.method.batch import TrainingRow
from algorithms.method.episode_sampling import SamplingRule
from games import FrozenLake
from lap import TagParser, TransformersModel
from tsmg import ActionText, EpisodeKey, Parsed, Purpose, Stream

ROWS = 64  # of a forward pass; 16, 256 and 1024 were slower on two CPU cores


@attrs.frozen
class Sample:
    """A reply to learn from; ``old_logprobs`` is None where it was drawn from the present weights."""

    prompt_ids: tuple[int, ...]
    reply_ids: tuple[int, ...]
    advantage: float
    weight: float
    old_logprobs: tuple[float, ...] | None = None

    @classmethod
    def of(cls, row: TrainingRow) -> "Sample":
        """The same from a record."""
        completion = row.completion
        return cls(
            completion.prompt_ids,
            completion.reply_ids,
            row.advantage,
            row.weight,
            completion.logprobs,
        )


# ---- learning ------------------------------------------------------------------------------------


def backward(network: Any, samples: Sequence[Sample], *, clip: float, rows: int = ROWS) -> None:
    """Add the gradient of the loss to the ``grad`` of the weights."""
    for first in range(0, len(samples), rows):
        part = samples[first : first + rows]
        logprobs, mask = reply_logprobs(network, part)
        terms = policy_loss(
            logprobs_B_L=logprobs,
            old_logprobs_B_L=old_logprobs(part, logprobs),
            mask_B_L=mask,
            advantages_B=torch.tensor([sample.advantage for sample in part]),
            weights_B=torch.tensor([sample.weight for sample in part]),
            clip=clip,
        )
        terms.loss.backward()


def reply_logprobs(network: Any, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Log-probability of every token after the first, and which of them belong to a reply. Shapes (B, T - 1)."""
    width = max(len(s.prompt_ids) + len(s.reply_ids) for s in samples)
    ids = torch.zeros(len(samples), width, dtype=torch.long)
    real, reply = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for b, sample in enumerate(samples):
        begin, end = len(sample.prompt_ids), len(sample.prompt_ids) + len(sample.reply_ids)
        ids[b, :end] = torch.tensor(sample.prompt_ids + sample.reply_ids)
        real[b, :end] = 1
        reply[b, begin:end] = True
    logits = network(input_ids=ids, attention_mask=real, use_cache=False).logits[:, :-1]
    logprobs = torch.log_softmax(logits, dim=-1).gather(-1, ids[:, 1:, None])[..., 0]
    return logprobs, reply[:, 1:]


def old_logprobs(samples: Sequence[Sample], logprobs: Tensor) -> Tensor:
    """What was recorded, where the reply stands; the present ones where nothing was."""
    old = logprobs.detach().clone()
    for b, sample in enumerate(samples):
        if sample.old_logprobs is not None:
            begin = len(sample.prompt_ids) - 1
            old[b, begin : begin + len(sample.reply_ids)] = torch.tensor(sample.old_logprobs)
    return old


# ---- playing -------------------------------------------------------------------------------------


class Episode:
    """An episode while it is played."""

    def __init__(self, state: Any) -> None:
        self.state = state
        self.episode_return = 0.0
        self.completions: list[tuple[tuple[int, ...], tuple[int, ...]]] = []


class PlainTrainer:
    """Updates a model on Frozen Lake by the settings of this library's trainer.

    Args:
      game: the lake, without slip.
      model: network and tokenizer; nothing else of it is used.
      config: sizes, learning rate and loss; one pass, no KL, no entropy bonus, a constant rate.
    """

    def __init__(self, game: FrozenLake, model: TransformersModel, config: MSGRPOConfig) -> None:
        self.game, self.config = game, config
        self.network, self.tokenizer = model.network, model.tokenizer
        self.parser = TagParser()
        self.update_index = 0
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=0.0
        )
        self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "left"
        (close,) = self.tokenizer.encode("</action>")
        self.ends = (self.tokenizer.eos_token_id, close)
        self.generation = GenerationConfig(
            do_sample=True,
            temperature=config.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=config.max_reply_tokens,
            eos_token_id=list(self.ends),
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def update(self) -> None:
        """Play, compare, draw, learn."""
        samples = self.samples(self.play())
        self.optimizer.zero_grad()
        backward(self.network, samples, clip=self.config.clip)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.update_index += 1

    def play(self) -> list[Episode]:
        """The episodes of an update, group by group."""
        episodes = [Episode(state) for state in self._starts()]
        going = episodes
        for _ in range(self.game.horizon):
            self._step(going)
            going = [e for e in going if not self.game.is_terminal(e.state)]
            if not going:
                break
        return episodes

    def _starts(self) -> Iterator[Any]:
        for group in range(self.config.groups):
            key = EpisodeKey(seed=self.config.seed, update=self.update_index, group=group)
            start = self.game.sample_initial_state(key.shared().stream(Purpose.START))
            yield from [start] * self.config.group_size

    def _step(self, going: Sequence[Episode]) -> None:
        (agent,) = self.game.agents
        texts = [self.game.observation_text(e.state, agent) + "\n" for e in going]
        for episode, completion in zip(going, self.replies(texts), strict=True):
            episode.completions.append(completion)
            self._move(episode, self.tokenizer.decode(completion[1]))

    def replies(
        self, texts: Sequence[str], generation: GenerationConfig | None = None
    ) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The ids of each prompt and of its reply."""
        batch = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        ids = self.network.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            generation_config=generation or self.generation,
        )
        begin = batch["input_ids"].shape[1]
        prompts = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
        return [
            (tuple(prompt[mask.index(1) :]), self._until_end(reply))
            for (prompt, mask), reply in zip(prompts, ids[:, begin:].tolist(), strict=True)
        ]

    def _until_end(self, reply: Sequence[int]) -> tuple[int, ...]:
        stops = [n + 1 for n, token in enumerate(reply) if token in self.ends]
        return tuple(reply[: stops[0]] if stops else reply)

    def _move(self, episode: Episode, reply: str) -> None:
        (agent,) = self.game.agents
        said = self.parser.parse(reply)
        outcome = (
            self.game.read_action(episode.state, agent, said.text)
            if isinstance(said, ActionText)
            else said
        )
        if isinstance(outcome, Parsed):
            joint_action, rng = {agent: outcome.action}, Stream("plain loop")  # no slip: not used
            episode.state, (reward,) = self.game.sample_transition(episode.state, joint_action, rng)
            episode.episode_return += reward
        else:
            episode.episode_return -= self.game.invalid_rule.penalty

    def samples(self, episodes: Sequence[Episode]) -> list[Sample]:
        """What is learnt from."""
        c = self.config
        groups = [
            episodes[g * c.group_size : (g + 1) * c.group_size]
            for g in range(len(episodes) // c.group_size)
        ]
        advantages = [
            group_relative_advantages([e.episode_return for e in group], eps=c.eps)
            for group in groups
        ]
        keys = [
            EpisodeKey(seed=c.seed, update=self.update_index, group=g) for g in range(len(groups))
        ]
        rule = SamplingRule(kind=c.sampling, kept=c.kept_episodes)
        rngs = [key.stream(Purpose.SUB_SAMPLE) for key in keys]
        kept = c.group_size if c.sampling == "all" else c.kept_episodes
        return [
            Sample(
                prompt,
                reply,
                float(advantages[s.group][s.episode]),
                s.weight / (len(groups) * kept),
            )
            for s in select_episodes(advantages, rule, rngs=rngs)
            for prompt, reply in groups[s.group][s.episode].completions
        ]
