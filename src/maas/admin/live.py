"""Catalogue records with what is loaded written into them."""

from __future__ import annotations

import msgspec

from maas.admin.deployments import Deployments
from maas.core.identity import ServableId
from maas.core.records import ModelRecord, Page, VersionRecord
from maas.serving.planning import why_unloaded


def live_version(record: VersionRecord, deployments: Deployments) -> VersionRecord:
    """Writes into a version's record whether it is loaded, why not, and by whom."""
    status = deployments.status(ServableId(record.name, record.version))
    return msgspec.structs.replace(
        record, state=status.state, reason=status.reason, process=status.process
    )


def live_model(record: ModelRecord, deployments: Deployments) -> ModelRecord:
    """Writes into a model's record which version serves, and how each of them stands.

    The state is that of the version that serves, else of the one that should; the reason is why
    the one that should does not.
    """
    versions = tuple(live_version(version, deployments) for version in record.versions)
    by_number = {version.version: version for version in versions}
    serving = deployments.serving(record.name)
    wanted = by_number.get(record.default_version or 0)
    shown = by_number.get(serving or 0, wanted)
    record = msgspec.structs.replace(record, serving_version=serving, versions=versions)
    if record.unloaded:
        return msgspec.structs.replace(record, reason=why_unloaded(record.name))
    if shown is None:
        nothing = (
            "no version is promoted: maas deploy NAME --traffic VERSION=100" if versions else ""
        )
        return msgspec.structs.replace(record, reason=nothing)
    return msgspec.structs.replace(record, state=shown.state, reason=(wanted or shown).reason)


def live_page(page: Page, deployments: Deployments) -> Page:
    """Does so for every model of a page."""
    models = tuple(live_model(model, deployments) for model in page.models)
    return Page(models=models, cursor=page.cursor)
