"""From the addresses of servers to a policy that plays on them; what does not fit is refused here, in one sentence."""

from collections.abc import Sequence
from pathlib import Path

from lap.errors import ModelError
from lap.model import LanguageModel
from lap.models.loading import end_ids
from lap.models.transformers import TransformersModel
from lap.policy import LanguageAgentPolicy
from lap.remote.client import Address, JsonClient
from lap.remote.engine import EngineModel
from lap.remote.fleet import Fleet
from lap.remote.server import EngineServer
from lap.remote.split import SplitModel


def connect(addresses: Sequence[Address], *, timeout: float = 300.0) -> Fleet:
    """Servers that answer and serve the model that is asked for.

    Args:
      addresses: of the servers, at least one.
      timeout: seconds that an answer may take.

    Raises:
      EngineError: one does not; the message says which, and what it serves.
    """
    servers = [
        EngineServer(address, JsonClient(address.url, timeout=timeout)) for address in addresses
    ]
    for server in servers:
        server.connect()
    return Fleet(servers)


def on_engines(
    policy: LanguageAgentPolicy[LanguageModel], fleet: Fleet, *, folder: str | Path | None = None
) -> LanguageAgentPolicy[SplitModel]:
    """The policy as one that plays on servers and learns here.

    Args:
      policy: a checkpoint of transformers, its prompt and its parser.
      fleet: the servers; they serve that checkpoint.
      folder: where weights are written for the servers to read; a temporary one unless given.

    Raises:
      ModelError: the model is not a transformers model.
      EngineError: a server has another tokenizer.
    """
    learner = policy.model
    if not isinstance(learner, TransformersModel):
        raise ModelError(
            f"an engine plays checkpoints of transformers (got {type(learner).__name__})"
        )
    engine = EngineModel(
        fleet,
        encoder=learner.encoder,
        end_ids=end_ids(learner.network, learner.tokenizer),
        stops=policy.parser.stops(),
        model_id=learner.model_id,
    )
    engine.check_tokenizer()
    return LanguageAgentPolicy(
        model=SplitModel(learner, engine, folder=folder),
        prompt=policy.prompt,
        parser=policy.parser,
        sampling=policy.sampling,
        prefill=policy.prefill,
    )
