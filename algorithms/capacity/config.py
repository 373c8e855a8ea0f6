"""The devices and the settings of a run whose memory is estimated."""

import math
from typing import Literal

import attrs

from algorithms.method.config import MSGRPOConfig, Sharding
from algorithms.method.settings import one_of, option, within
from tsmg import InvalidArgumentError

Dtype = Literal["float32", "bfloat16", "mixed"]

BYTES = {"float32": 4, "bfloat16": 2, "mixed": 4}
"""Bytes of a number of each type that weights and moments may have."""

_DEFAULT = {field.name: field.default for field in attrs.fields(MSGRPOConfig)}


@attrs.frozen(kw_only=True)
class CapacityConfig:
    """The devices and the settings of a run whose memory is estimated; every field has its help text."""

    gpus: int = option(1, "devices per node", within(1))
    memory: float = option(80.0, "memory of a device in GB, of 10^9 bytes", within(0.0, above=True))
    nodes: int = option(1, "number of nodes with identical devices", within(1))
    sharding: Sharding = option(
        "none",
        "what is divided among the devices: nothing; moments (zero1); also gradients and weights of layers, which are "
        "whole while playing (fsdp)",
        one_of,
    )
    dtype: Dtype = option(
        "float32", "data type of the weights; mixed: float32 weights, bfloat16 computation", one_of
    )
    optimizer_dtype: Literal["learnt", "float32", "bfloat16"] = option(
        "learnt",
        "data type of the optimiser's two moments; learnt: that of the learnt weights",
        one_of,
    )
    recompute: bool = option(False, "keep one state per layer and token, and recompute the rest")
    token_budget: int = option(
        _DEFAULT["token_budget"],
        "maximum number of tokens in a forward pass while learning",
        within(1),
    )
    cache_tokens: int = option(
        32_768,
        "tokens of prompts that enter the key-value cache at once: the token_budget of the model",
        within(1),
    )
    groups: int = option(_DEFAULT["groups"], "groups of episodes per update", within(1))
    group_size: int = option(_DEFAULT["group_size"], "episodes per group", within(2))
    kept_episodes: int = option(
        _DEFAULT["kept_episodes"], "episodes per group to train on", within(1)
    )
    horizon: int = option(16, "completions of an episode, one per step", within(1))
    prompt_tokens: int = option(512, "tokens of a prompt", within(1))
    max_reply_tokens: int = option(
        _DEFAULT["max_reply_tokens"],
        "tokens of a reply; every reply is counted as this long",
        within(1),
    )

    engines: int = option(
        0, "inference servers that play while this one device learns; 0: it plays, too", within(0)
    )
    engine_gpus: int = option(1, "devices of a server, which divide its layers", within(1))
    engine_dtype: Literal["computed", "float32", "bfloat16"] = option(
        "computed",
        "type of a server's weights and cache; computed: that which the learner computes in",
        one_of,
    )

    def __attrs_post_init__(self) -> None:
        if self.kept_episodes > self.group_size:
            raise InvalidArgumentError(
                f"'kept_episodes' must be at most 'group_size' "
                f"(got {self.kept_episodes} > {self.group_size})"
            )
        if self.engines and self.devices > 1:
            raise InvalidArgumentError(
                f"an engine plays for one learning process: leave 'gpus' and 'nodes' at 1, or 'engines' out "
                f"(got {self.devices} devices)"
            )
        if not self.engines and (self.engine_gpus > 1 or self.engine_dtype != "computed"):
            raise InvalidArgumentError("'engine_gpus' and 'engine_dtype' need 'engines'")

    @property
    def devices(self) -> int:
        """Devices of all nodes; each has a process of its own."""
        return self.gpus * self.nodes

    @property
    def shards_layers(self) -> bool:
        """Whether each device holds a part of every layer."""
        return self.sharding == "fsdp" and self.devices > 1

    @property
    def weight_bytes(self) -> int:
        """Bytes of a weight that does not belong to an adapter."""
        return BYTES[self.dtype]

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number in the type that is computed in."""
        return 4 if self.dtype == "float32" else 2

    @property
    def served_dtype(self) -> Dtype:
        """The type of the weights on a server."""
        if self.engine_dtype == "computed":
            return "float32" if self.dtype == "float32" else "bfloat16"
        return self.engine_dtype

    @property
    def row(self) -> int:
        """Tokens of a prompt and a reply; the last one is never an input."""
        return self.prompt_tokens + self.max_reply_tokens - 1

    @property
    def episodes(self) -> int:
        """Episodes that the fullest device or server plays at once; groups are not split."""
        return math.ceil(self.groups / (self.engines or self.devices)) * self.group_size

    @property
    def cached_rows(self) -> int:
        """Rows of the cache: prompts enter as far as there is room, and each may part into a row per member."""
        prompts = max(1, self.cache_tokens // self.prompt_tokens)
        return min(self.episodes, prompts * self.group_size)

    @property
    def entering(self) -> int:
        """Tokens of prompts that go through the network at once while playing."""
        prompts = max(1, self.cache_tokens // self.prompt_tokens)
        return min(self.episodes, prompts) * self.prompt_tokens

    @property
    def learnt_completions(self) -> int:
        """Completions of an update that are learnt from, on all devices."""
        return self.groups * self.kept_episodes * self.horizon

    @property
    def learnt_tokens(self) -> int:
        """Tokens that the fullest device learns from; each prompt counts with each of its replies."""
        return math.ceil(self.learnt_completions / self.devices) * self.row

    @property
    def part(self) -> int:
        """Tokens of a micro-batch: one row at least, and no more than there are."""
        return min(max(self.token_budget, self.row), self.learnt_tokens)
