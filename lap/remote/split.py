"""A model that samples on inference servers and learns here, and the checks that the two are one policy."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, final

import torch
from torch import Tensor

from lap.engine.sampling import Sampling, TokenLogprobs
from lap.model import PrefillingModel, PushingModel, SavableModel, StopCriterion, TrainableModel
from lap.models.transformers import TransformersModel
from lap.prompts import Prompt
from lap.remote.canary import PROBES, canary_deviation
from lap.remote.client import EngineError, ServerDownError
from lap.remote.engine import EngineModel
from lap.remote.server import EngineServer
from lap.remote.weights import WeightsFolder
from tsmg import Completion, Stream


@final
class SplitModel(TrainableModel, PrefillingModel, SavableModel, PushingModel):
    """Samples on servers and scores on a learner, whose weights are pushed to the servers after each update.

    Adapters are pushed where the learner has them: saved, and loaded under a new name, which no cache knows. Else all
    weights are: saved, and loaded in place of the old ones, and what was cached is forgotten. Every push ends with the
    canary (``lap.remote.canary``). Replies are refused while the servers have other weights than the learner.

    Args:
      learner: the model that learns.
      sampler: the servers; ``None`` plays on the learner, as copies of the model do.
      folder: where weights are written for the servers to read; a temporary one unless given.
      canary: how many fresh replies each server is checked by after a push; at least 1.

    Attributes:
      learner: the model that learns.
      sampler: the servers.
      pushed_version: of the weights that all servers have; ``None`` before the first push, and after one that failed.
    """

    def __init__(
        self,
        learner: TransformersModel,
        sampler: EngineModel | None,
        *,
        folder: str | Path | None = None,
        canary: int = 8,
    ) -> None:
        self.learner, self.sampler = learner, sampler
        self.model_id, self.backend = learner.model_id, learner.backend
        self.pushed_version: int | None = None
        self._folder = None if sampler is None else WeightsFolder(folder)
        # in the names of adapters, which other runs on the servers must not share
        self._run = uuid.uuid4().hex[:8]
        self._canary, self._deviation = canary, 0.0
        self._asked: tuple[Prompt, ...] = ()
        self._sampling = Sampling()

    @property
    def network(self) -> torch.nn.Module:
        """The learner's."""
        network: torch.nn.Module = self.learner.network
        return network

    @network.setter
    def network(self, network: torch.nn.Module) -> None:
        """Give the learner another network."""
        self.learner.network = network

    @property
    def weights_version(self) -> int:
        """The learner's."""
        return self.learner.weights_version

    @weights_version.setter
    def weights_version(self, version: int) -> None:
        """Set the number of updates of the learner's weights."""
        self.learner.weights_version = version

    @property
    def compute_dtype(self) -> torch.dtype:
        return self.learner.compute_dtype

    def push(self) -> float:
        engine, version = self.sampler, self.weights_version
        if engine is None or self.pushed_version == version:
            return self._deviation
        assert self._folder is not None  # noqa: S101 - there is one with every sampler
        self.pushed_version = None
        before = engine.served_name
        engine.served_name = f"tsmg-{self._run}-v{version}" if self.learner.has_adapters else ""
        engine.weights_version = version
        place = self._folder.write(version, self.learner.save_pretrained)
        engine.fleet.revive()
        engine.fleet.deal_anew()
        deviations = [self._push_to(server, engine, place) for server in engine.fleet.alive]
        for server in engine.fleet.alive:
            if before and before != engine.served_name:
                self._unload_from(server, engine, before)
        self._folder.remove_all_but(version)
        self._deviation = max(deviations)
        self.pushed_version = version
        return self._deviation

    def _push_to(self, server: EngineServer, engine: EngineModel, place: Path) -> float:
        """Give one server the weights, and check that it plays with them; one that fails is no longer used."""
        prompts = tuple(dict.fromkeys((*self._asked, *PROBES)))[: self._canary]
        try:
            if engine.served_name:
                server.load_adapters(engine.served_name, place)
            else:
                server.reload_weights(place)
            return canary_deviation(server, engine, self.learner, prompts, sampling=self._sampling)
        except ServerDownError as error:
            engine.fleet.drop(server, error)
            return 0.0

    @staticmethod
    def _unload_from(server: EngineServer, engine: EngineModel, name: str) -> None:
        """Let one server forget adapters; one that fails is no longer used."""
        try:
            server.unload_adapters(name)
        except ServerDownError as error:
            engine.fleet.drop(server, error)

    def take_notes(self) -> list[str]:
        return [] if self.sampler is None else self.sampler.fleet.take_notes()

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        if self.sampler is None:
            return self.learner.sample(
                prompts, rngs, sampling=sampling, stop_criterion=stop_criterion
            )
        if self.pushed_version != self.weights_version:
            raise EngineError(
                f"the engines have the weights of version {self.pushed_version}, and the learner those of "
                f"{self.weights_version}: call 'push' first"
            )
        self._remember(prompts, sampling)
        return self.sampler.sample(prompts, rngs, sampling=sampling, stop_criterion=stop_criterion)

    def _remember(self, prompts: Sequence[Prompt], sampling: Sampling) -> None:
        """Keep what the next canary asks."""
        self._asked = tuple(dict.fromkeys(prompts))[: self._canary]
        self._sampling = self._sampling if sampling.is_greedy else sampling

    @property
    def state_width(self) -> int:
        """The learner's."""
        return self.learner.state_width

    def logprobs(
        self,
        completions: Sequence[Completion],
        *,
        sampling: Sampling,
        value_head: torch.nn.Module | None = None,
    ) -> TokenLogprobs:
        return self.learner.logprobs(completions, sampling=sampling, value_head=value_head)

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion:
        return self.learner.written(prompt, reply, stop_criterion=stop_criterion)

    def given_ids(self, prompt: Prompt) -> tuple[int, ...]:
        return self.learner.given_ids(prompt)

    def text(self, ids: Sequence[int]) -> str:
        """The string that token ids stand for."""
        return self.learner.text(ids)

    def reply_length(self, reply: str) -> int:
        return self.learner.reply_length(reply)

    def check_prompts(self, prompts: Sequence[Prompt], *, sampling: Sampling) -> None:
        self.learner.check_prompts(prompts, sampling=sampling)
        if self.sampler is not None:
            self.sampler.check_prompts(prompts, sampling=sampling)
            self._remember(prompts, sampling)

    def frozen_copy(self) -> Self:
        return type(self)(self.learner.frozen_copy(), None)

    def reference_model(self) -> Self:
        return type(self)(self.learner.reference_model(), None)

    def learned_tensors(self) -> dict[str, Tensor]:
        return self.learner.learned_tensors()

    def state_values(self) -> Mapping[str, object]:
        return self.learner.state_values()

    def load_state_values(self, values: Mapping[str, object]) -> None:
        self.learner.load_state_values(values)

    def digest(self) -> str:
        return self.learner.digest()

    def save_pretrained(
        self, folder: str | Path, *, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        self.learner.save_pretrained(folder, weights=weights)

    def loading_settings(self) -> Mapping[str, object]:
        return self.learner.loading_settings()
