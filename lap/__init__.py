"""The Language-Agent Policy (LAP): prompt, model, parser."""

from lap.constrained import CanonicalReply, ConstrainedPolicy
from lap.encoding import PromptEncoder
from lap.engine.sampling import Sampling, TokenLogprobs
from lap.errors import ContextLengthError, ModelError
from lap.lora import LoraSettings
from lap.model import LanguageModel, TrainableModel
from lap.models.endpoint import EndpointModel, Usage
from lap.models.scripted import ScriptedModel
from lap.models.tabular import TabularModel
from lap.models.transformers import TransformersModel
from lap.parsers import AbstractParser, TagParser, WholeReplyParser
from lap.policy import LanguageAgentPolicy, frozen_copy, register_backend, with_logit_cache
from lap.prompts import (
    AbstractPrompt,
    Example,
    LastTurnsPrompt,
    MemorylessPrompt,
    Message,
    Prompt,
    Segment,
)
from lap.replies import reply_dist
from lap.subgoals import SubgoalParser

register_backend("transformers", TransformersModel.load)

__all__ = [
    "AbstractParser",
    "AbstractPrompt",
    "CanonicalReply",
    "ConstrainedPolicy",
    "ContextLengthError",
    "EndpointModel",
    "Example",
    "LanguageAgentPolicy",
    "LanguageModel",
    "LastTurnsPrompt",
    "LoraSettings",
    "MemorylessPrompt",
    "Message",
    "ModelError",
    "Prompt",
    "PromptEncoder",
    "Sampling",
    "ScriptedModel",
    "Segment",
    "SubgoalParser",
    "TabularModel",
    "TagParser",
    "TokenLogprobs",
    "TrainableModel",
    "TransformersModel",
    "Usage",
    "WholeReplyParser",
    "frozen_copy",
    "register_backend",
    "reply_dist",
    "with_logit_cache",
]
