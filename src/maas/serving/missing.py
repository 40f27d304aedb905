"""What a call is told that there is no version for."""

from __future__ import annotations

from maas.core.errors import ErrorKind, MaasError, not_found
from maas.core.states import ServableState
from maas.serving.plan import ModelPlan, Plan

LISTED = 8
"""Most names that an error lists."""


def no_model(name: str, plan: Plan) -> MaasError:
    """The error of a call of a model that is not in the plan."""
    if not plan.epoch:
        return MaasError(
            ErrorKind.UNAVAILABLE,
            "the server is starting and does not know its models yet; try again",
            retry_after_s=1.0,
        )
    return not_found(
        f"there is no model {name[:128]!r}"
        + listing("; published are ", sorted(plan.models), " (none yet)")
    )


def nothing_serves(name: str, model: ModelPlan) -> MaasError:
    """The error of a call without a version, where none of the model's takes it now."""
    newest = max(model.versions, default=None)
    if newest is None:
        return not_found(f"model {name!r} has no versions")
    version = model.versions[newest]
    if version.state in (ServableState.START, ServableState.LOADING):
        return MaasError(
            ErrorKind.UNAVAILABLE, f"{name}:{newest} is still loading", retry_after_s=1.0
        )
    if version.reason:
        return MaasError(
            ErrorKind.UNAVAILABLE, f"no version of {name!r} serves by default: {version.reason}"
        )
    # A rollout or an unload may be half done, which is over in a moment.
    return MaasError(
        ErrorKind.UNAVAILABLE,
        f"no version of {name!r} serves by default now; try again, name a version, or promote one",
        retry_after_s=1.0,
    )


def listing(before: str, names: list[str], none: str = "") -> str:
    """`before` and the names, at most `LISTED` of them; `none` where there are none."""
    if not names:
        return none
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return before + ", ".join(names[:LISTED]) + more
