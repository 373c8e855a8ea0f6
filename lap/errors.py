"""Errors of language models and their checkpoints."""

from tsmg import NoReplyError, TSMGError


class ModelError(TSMGError, RuntimeError):
    """A language model or its checkpoint cannot do what was asked."""


class ContextLengthError(ModelError, NoReplyError):
    """A prompt and the longest reply to it do not fit the model's context; the message says both lengths.

    Attributes:
      index: the index of that prompt in the batch.
    """
