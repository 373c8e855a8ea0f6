"""Methods by name: settings that belong together, as differences from the defaults of ``MSGRPOConfig``.

A preset is data, and nothing remembers it: a run records the settings that it came to. A further method is an entry
here.
"""

from collections.abc import Mapping
from typing import Any, final

import attrs

from algorithms.method.config import MSGRPOConfig


@final
@attrs.frozen(kw_only=True)
class Preset:
    """A named method.

    Attributes:
      about: what it is for; a sentence without a full stop.
      settings: of ``MSGRPOConfig``, by name; all others keep their defaults.
    """

    about: str
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    @settings.validator
    def _check(self, attribute: "attrs.Attribute[Any]", value: Mapping[str, Any]) -> None:
        MSGRPOConfig(**value)

    def differences(self, overridden: Mapping[str, object]) -> str:
        """How the method differs from the default, in words.

        Args:
          overridden: settings that the user gave besides, which hold in place of the method's.

        Example:
          >>> PRESETS["ms-grpo-corrected"].differences({"floor": 0.2})
          "std 'none' (default 'auto'), corrected True (default False)"
          >>> PRESETS["ms-grpo"].differences({})
          'no setting but the defaults'
        """
        fields = attrs.fields_dict(MSGRPOConfig)
        return (
            ", ".join(
                f"{name} {value!r} (default {fields[name].default!r})"
                for name, value in self.settings.items()
                if name not in overridden and value != fields[name].default
            )
            or "no setting but the defaults"
        )


PRESETS: Mapping[str, Preset] = {
    "ms-grpo": Preset(about="MS-GRPO as the defaults have it"),
    "ms-grpo-corrected": Preset(
        about="on average in the direction of the true gradient, whatever the returns and the starts are "
        "(with --credit episode or reward_to_go, --weighting constant)",
        settings={"std": "none", "corrected": True, "floor": 0.1},
    ),
}
