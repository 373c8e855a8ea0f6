"""The canary: after every push, fresh replies of each server are scored again by the model that learns.

The same weights give a token the same log-probability, up to rounding. The run therefore stops before a single episode
is played with stale, mixed-up or half-loaded weights, another checkpoint, exchanged rows, or log-probabilities of
another distribution than the replies were drawn from. They are detected if they make more of a difference than
rounding, which is much greater in bfloat16 than in float32. The check does not find out why a server went wrong; it
checks exactly what training relies on.
"""

import math
from collections.abc import Sequence

import attrs
import torch

from lap.agreement import (
    LOGPROB_TOLERANCES,
    MEAN_LOGPROB_TOLERANCES,
    largest_disagreement,
    mean_disagreement,
)
from lap.engine.sampling import Sampling
from lap.model import TrainableModel
from lap.prompts import Message, Prompt, Segment
from lap.remote.client import EngineError
from lap.remote.engine import EngineModel
from lap.remote.server import EngineServer
from tsmg import Stream

_LONGEST = 32  # tokens of a reply that is checked
_TOPICS = ("rain", "chess", "bread", "the sea", "a map", "two dice", "an old tree", "the number 7")
PROBES = tuple(
    Prompt((Message("user", (Segment(f"Say something about {topic}.", trusted=True),)),))
    for topic in _TOPICS
)
"""Prompts for use before those of a game are known; all are different, so that exchanged replies are noticed."""


@torch.no_grad()
def canary_deviation(
    server: EngineServer,
    engine: EngineModel,
    learner: TrainableModel,
    prompts: Sequence[Prompt],
    *,
    sampling: Sampling,
) -> float:
    """The greatest difference between the log-probabilities of a server and those of the learner, in nats.

    Args:
      server: the server.
      engine: samples from it.
      learner: the model whose weights the server is to have.
      prompts: what is asked, all at once.
      sampling: the distribution that replies are drawn from.

    Raises:
      ServerDownError: the server does not answer.
      EngineError: the greatest difference or the mean one is beyond what rounding explains in the learner's type; the
        message names server, version and the worst token with both log-probabilities.
    """
    asked = attrs.evolve(sampling, max_reply_tokens=min(sampling.max_reply_tokens, _LONGEST))
    place, version = engine.fleet.servers.index(server), engine.weights_version
    streams = [Stream("canary", place, version, n) for n in range(len(prompts))]
    replies = engine.sample(prompts, streams, sampling=asked, only=server)
    scores = learner.logprobs(replies, sampling=asked)
    worst, mean = largest_disagreement(replies, scores), mean_disagreement(replies, scores)
    if worst is None:
        return 0.0
    dtype = learner.compute_dtype
    tolerance, of_mean = LOGPROB_TOLERANCES[dtype], MEAN_LOGPROB_TOLERANCES[dtype]
    if worst.size > tolerance:
        size = f"{worst.size:.2g}" if math.isfinite(worst.size) else "not finite"
        found = f"the difference is {size}"
    elif mean > of_mean:
        found, tolerance = f"the mean difference over tokens is {mean:.2g}", of_mean
    else:
        return worst.size
    kind = str(dtype).removeprefix("torch.")
    raise EngineError(
        f"the engine at {server.url} does not play the policy that learns: after the push of version {version} "
        f"token {worst.position} (id {worst.token}) of the reply {worst.reply!r:.100} has the log-probability "
        f"{worst.recorded:.4f} there and {worst.scored:.4f} here; {found}, and rounding in {kind} explains "
        f"{tolerance:g}: serve the checkpoint that is trained, in a data type no coarser, with --logprobs-mode "
        "processed_logprobs, and push adapters (--lora) if whole weights fail"
    )
