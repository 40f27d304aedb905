"""What the manager is told about watched models: which versions they hold, which they let go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from maas.core.identity import ServableId
from maas.core.records import ModelRecord


class Watched:
    """The versions that watched models hold loaded. Written on control's loop, read anywhere.

    Args:
        failed: whether a version could not be loaded.
        importing: whether there is anything to watch, of which the first round is to come.
    """

    def __init__(self, failed: Callable[[ServableId], bool], *, importing: bool = False):
        self.importing = importing
        self._failed = failed
        self._held: dict[str, frozenset[int]] = {}
        self._seen: dict[ServableId, bool] = {}

    def held(self, name: str) -> frozenset[int]:
        """The versions of a model that are to be loaded besides its default and its aliases."""
        return self._held.get(name, frozenset())

    def hold(self, name: str, versions: frozenset[int]) -> bool:
        """Says which; returns whether that is news."""
        if self._held.get(name) == versions:
            return False
        self._held[name] = versions
        return True

    def let_go(self, name: str) -> None:
        """The model is no longer watched."""
        self._held.pop(name, None)

    def wanted(self, models: Sequence[ModelRecord]) -> tuple[ModelRecord, ...]:
        """The models as the manager should see them.

        Of a watched model the version before is not kept loaded for a rollback, as other servers
        keep none; only where the default cannot be loaded it stands in.
        """
        self._seen = {}
        return tuple(self._wanted(model) for model in models)

    def outdated(self) -> bool:
        """Whether a default has failed or recovered since the manager looked last."""
        return any(self._failed(one) is not failed for one, failed in list(self._seen.items()))

    def _wanted(self, model: ModelRecord) -> ModelRecord:
        default = model.default_version
        if default is None or default not in self.held(model.name):
            return model
        servable = ServableId(model.name, default)
        failed = self._seen[servable] = self._failed(servable)
        return model if failed else msgspec.structs.replace(model, previous_version=None)
