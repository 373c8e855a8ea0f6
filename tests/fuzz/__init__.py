"""Hostile texts and files wherever the library reads what strangers wrote: ``python -m tests.fuzz``.

A *surface* is a module of this package with three names: ``MODULES`` (whose branches are counted), ``CASES`` (how
many are run unless asked otherwise) and ``prepare``, which returns a function of one case. A case draws its input
from a ``Source``; whatever it raises is a finding. Errors that the library declares are caught in the case.
"""

SURFACES = (
    "observations",
    "actions",
    "parsers",
    "prompts",
    "templates",
    "endpoint",
    "configuration",
    "run_folders",
    "checkpoints",
    "episode_files",
    "printed",
)
