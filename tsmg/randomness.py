"""Counter-based random streams: a draw is a function of its key, not of what was drawn before.

The key of a draw is (run seed, phase, update, group, episode | purpose, step, agent, completion | k).
No two purposes and no two agents share a draw, so an episode does not depend on which other
episodes are played beside it. Each stream hashes its key with BLAKE2b; draw k is the 64-bit word
k mod 8 of the 512-bit digest of the key with k div 8.
"""

import enum
import hashlib
import struct
from collections.abc import Sequence
from typing import TypeVar

import attrs

from tsmg.errors import InvalidArgumentError

T = TypeVar("T")

_TWO_POW_53 = 2.0**-53


class Purpose(enum.Enum):
    """What a draw is for; draws of different purposes are independent."""

    START = "start"
    CHANCE = "chance"
    POLICY = "policy"
    SUB_SAMPLE = "sub-sample"
    BRANCH = "branch"


class Phase(enum.Enum):
    """The part of a run that a draw belongs to."""

    TRAINING = "training"
    EVALUATION = "evaluation"
    CLONING = "cloning"
    EXAMPLES = "examples"


class Stream:
    """Uniform draws that depend on a key and a counter alone.

    Args:
      *key: the values that identify the stream; anything with a faithful ``repr``.

    Example:
      >>> Stream(0, "chance").random() == Stream(0, "chance").random()
      True
      >>> Stream(0, "chance").random() == Stream(0, "policy").random()
      False
    """

    __slots__ = ("_block", "_counter", "_key", "_root", "_words")

    def __init__(self, *key: object) -> None:
        self._key = key
        self._counter = 0
        self._root: hashlib.blake2b | None = None
        self._block = -1
        self._words: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"Stream{self._key!r}"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._key, self._counter

    def __setstate__(self, counter: int) -> None:
        self._counter = counter

    @property
    def key(self) -> tuple[object, ...]:
        """The values that identify the stream."""
        return self._key

    def at(self, counter: int) -> float:
        """Draw number ``counter``, uniform in [0, 1), whatever was drawn before."""
        return (self._bits(counter) >> 11) * _TWO_POW_53

    def random(self) -> float:
        """The next uniform draw in [0, 1)."""
        self._counter += 1
        return (self._bits(self._counter - 1) >> 11) * _TWO_POW_53

    def integer(self, bound: int) -> int:
        """The next uniform draw among 0, ..., ``bound`` - 1, exactly uniform by rejection.

        Raises:
          InvalidArgumentError: the bound is not between 1 and 2^64.
        """
        if not 1 <= bound <= 1 << 64:
            raise InvalidArgumentError(f"'bound' must be between 1 and 2^64 (got {bound})")
        limit = (1 << 64) - (1 << 64) % bound
        while True:
            self._counter += 1
            bits = self._bits(self._counter - 1)
            if bits < limit:
                return bits % bound

    def choice(self, items: Sequence[T]) -> T:
        """A uniform draw from a non-empty sequence."""
        return items[self.integer(len(items))]

    def seed(self) -> int:
        """A 32-bit seed for a foreign generator (NumPy, an environment's ``reset``)."""
        self._counter += 1
        return self._bits(self._counter - 1) >> 32

    def _bits(self, counter: int) -> int:
        block, word = divmod(counter, 8)
        if block != self._block:
            self._words = self._digest(block)
            self._block = block
        return self._words[word]

    def _digest(self, block: int) -> tuple[int, ...]:
        if self._root is None:
            self._root = hashlib.blake2b(repr(self._key).encode())
        digest = self._root.copy()
        digest.update(block.to_bytes(8, "little"))
        return struct.unpack("<8Q", digest.digest())


@attrs.frozen(kw_only=True)
class EpisodeKey:
    """The identity of an episode within a run, from which all its random streams are derived.

    Example:
      >>> key = EpisodeKey(seed=0, update=3, group=1, episode=2)
      >>> key.stream(Purpose.CHANCE, step=0).random() == key.stream(Purpose.CHANCE, step=1).random()
      False
      >>> key.shared() == EpisodeKey(seed=0, update=3, group=1, episode=5).shared()
      True
    """

    seed: int
    phase: Phase = Phase.TRAINING
    update: int = 0
    group: int = 0
    episode: int = 0

    def stream(
        self, purpose: Purpose, *, step: int = -1, agent: str = "", completion: int = 0
    ) -> Stream:
        """The stream of one purpose at one step, and of one completion of an agent."""
        return Stream(
            self.seed,
            self.phase.value,
            self.update,
            self.group,
            self.episode,
            purpose.value,
            step,
            agent,
            completion,
        )

    @staticmethod
    def group_of(stream: Stream) -> tuple[object, ...]:
        """What the keys of the streams of all members of a group begin with; other streams' whole keys, if short."""
        return stream.key[:4]

    def shared(self) -> "EpisodeKey":
        """The key without the episode: it is the same for all members of the group."""
        return attrs.evolve(self, episode=-1)
