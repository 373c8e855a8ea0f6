"""A cloning as a value: which game and policy, what is cloned, and how.

Like ``RunSpec``, it consists of a ``GameSpec`` and a ``PolicySpec``; the cloning itself is in ``algorithms.cloning``.
Nothing slow is imported before something is built.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs

from algorithms.cloning.config import DESCRIBED, CloningConfig, FitConfig
from algorithms.errors import RunFolderError
from algorithms.method.settings import option, within
from algorithms.training.game_spec import Game, GameSpec
from algorithms.training.opponents import POLICY_FILE, check_saved_policy
from algorithms.training.plain_data import from_plain, to_plain
from algorithms.training.policy_spec import PolicySpec
from tsmg import InvalidArgumentError

if TYPE_CHECKING:  # they import torch
    import lap
    from algorithms.runs.records import Record


@final
@attrs.frozen(kw_only=True)
class CloneSpec:
    """Everything that determines a cloning, except the versions of the software.

    Attributes:
      game: which game is played.
      policy: what is fitted: a checkpoint, or a fresh network; its ``player`` is cloned unless another source is named.
      fit: the settings of the fit.
      teacher, episodes_from: what is cloned in place of the player.
      successful: whether only successful episodes of a teacher or a record are cloned.
      threads: CPU threads; another number rounds sums differently.
    """

    game: GameSpec = GameSpec()
    policy: PolicySpec = PolicySpec()
    fit: FitConfig = FitConfig()
    teacher: str | None = option(None, "folder of a saved policy whose play is cloned")
    episodes_from: str | None = option(
        None, "run folder, or a file such as its episodes.jsonl, whose recorded episodes are cloned"
    )
    successful: bool = option(
        False,
        "of a policy or of recorded episodes, clone only those that the game calls a success (rejection sampling)",
    )
    threads: int = option(2, "CPU threads", within(1))

    def check(self, *, has_teacher: bool = False) -> None:
        """Refuse what can be refused without loading a model.

        Args:
          has_teacher: whether a policy to clone is given as an object.

        Raises:
          InvalidArgumentError: there is no such game, checkpoint or source, or the settings do not fit together.
        """
        game = self.game.build()
        self.game.split(game)  # refuses a part without starts
        self.policy.check(trains=True)
        has_teacher = has_teacher or self.teacher is not None
        if has_teacher + (self.episodes_from is not None) + (self.policy.player != "scripted") > 1:
            raise InvalidArgumentError(
                "only one of a policy, recorded episodes and a player can be cloned; name one of them"
            )
        if self.teacher is not None:
            check_saved_policy(self.teacher)
        elif self.episodes_from is not None:
            self.records(game)
        elif self.successful and not has_teacher:
            raise InvalidArgumentError(
                "'successful' selects episodes of a policy or recorded ones; a player's whole distribution is cloned, "
                "so leave it out"
            )
        elif not has_teacher and self.policy.cloned_game(game).scripted_player() is None:
            raise InvalidArgumentError(
                f"{game.name} has no scripted player to clone; name --player uniform, --policy FOLDER or "
                "--episodes-from RUN_FOLDER"
            )

    def records(self, game: Game) -> "list[Record]":
        """The recorded episodes that are cloned.

        Args:
          game: the whole game.

        Raises:
          InvalidArgumentError: they cannot be read, are of another game, or none can be cloned.
        """
        from algorithms.cloning.recorded import (
            check_successful,
            read_episodes,
            without_evaluations,
        )

        records = read_episodes(self.episodes_from or "", game, self.game.arguments)
        if self.game.held_out and game.facts.start_is_instance:
            records = without_evaluations(records)
        if self.successful:
            check_successful(records, game)
        return records

    def build_policy(self, game: Game) -> "lap.LanguageAgentPolicy[Any]":
        """The policy that is fitted.

        Args:
          game: the training part, with the player that is cloned.

        Raises:
          ModelError: there is no such checkpoint, or it cannot be loaded.
        """
        sizes = self.policy.cloning or CloningConfig(seed=self.fit.seed)
        unfitted = attrs.evolve(self.policy, cloning=attrs.evolve(sizes, steps=0))
        return unfitted.build(game, seed=self.fit.seed)

    def to_json(self) -> dict[str, Any]:
        """The spec as plain data."""
        plain: Any = to_plain(self)
        return dict(plain)

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], *, source: str = "the specification of a cloning"
    ) -> "CloneSpec":
        """The spec that ``to_json`` returned, or that a person wrote; missing keys have their defaults.

        Raises:
          InvalidArgumentError: a key is unknown, or a value breaks its rule.
        """
        spec = from_plain(cls, data, source=source)
        return attrs.evolve(spec, policy=spec.policy.seeded(data.get("policy", {}), spec.fit.seed))


def check_folder(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that holds something else, or nothing that can be resumed.

    Raises:
      RunFolderError: the message says which.
    """
    if resume and not (folder / DESCRIBED).is_file():
        raise RunFolderError(f"no cloning in {str(folder)!r} (there is no {DESCRIBED})")
    if resume and (folder / POLICY_FILE).is_file():
        raise RunFolderError(f"the cloning in {str(folder)!r} is finished; nothing is left to do")
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        hint = "continue with --resume, or " if (folder / DESCRIBED).is_file() else ""
        raise RunFolderError(f"{str(folder)!r} is not empty; {hint}choose another folder")
