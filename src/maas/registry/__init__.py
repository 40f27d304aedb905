"""The catalogue: which models, versions, aliases and keys exist, and which versions are wanted."""

from __future__ import annotations

from maas.registry.catalog import Registry
from maas.registry.disk import clear_disk_errors
from maas.registry.drafts import VersionDraft, check_options

__all__ = ["Registry", "VersionDraft", "check_options", "clear_disk_errors"]
