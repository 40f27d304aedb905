"""The sandbox: a process gives up for life what opening and running a model does not need."""

from maas.sandbox.confinement import Confinement, confine
from maas.sandbox.environment import sandbox_environment
from maas.sandbox.tree import remove_tree
from maas.sandbox.usage import (
    Usage,
    available_bytes,
    family_of,
    folder_bytes,
    unlinked_bytes,
    usage_of,
)
from maas.sandbox.wording import denial, how_it_ended

__all__ = [
    "Confinement",
    "Usage",
    "available_bytes",
    "confine",
    "denial",
    "family_of",
    "folder_bytes",
    "how_it_ended",
    "remove_tree",
    "sandbox_environment",
    "unlinked_bytes",
    "usage_of",
]
