"""What each role may do."""

from __future__ import annotations

from enum import StrEnum

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import Principal
from maas.core.records import Role


class Action(StrEnum):
    """Something a key may or may not do; each value completes the sentence "may not …"."""

    CALL = "call models"
    READ = "see models"
    OPERATE = "see processes and logs"
    PUBLISH = "publish, change or delete models"
    PUBLISH_CODE = "publish models that carry code (--trust)"
    MANAGE_KEYS = "manage keys"


_CALLER = frozenset({Action.CALL, Action.READ})
_PUBLISHER = _CALLER | {Action.OPERATE, Action.PUBLISH}
_OPERATOR = _PUBLISHER | {Action.PUBLISH_CODE}
_ALLOWED: dict[str, frozenset[Action]] = {
    Role.CALLER.value: _CALLER,
    Role.PUBLISHER.value: _PUBLISHER,
    Role.OPERATOR.value: _OPERATOR,
    Role.OWNER.value: _OPERATOR | {Action.MANAGE_KEYS},
}


def allows(role: str, action: Action) -> bool:
    """Whether a role may do something; a role that is not known may do nothing."""
    return action in _ALLOWED.get(role, ())


def check_allowed(principal: Principal, action: Action) -> None:
    """Lets a principal through, or says what its role lacks.

    Raises:
        MaasError: PERMISSION_DENIED.
    """
    if allows(principal.role, action):
        return
    roles = [role.value for role in Role if allows(role.value, action)]
    raise MaasError(
        ErrorKind.PERMISSION_DENIED,
        f"the key {principal.name!r} has the role {principal.role!r}, which may not "
        f"{action.value}; use a key with the role {_either(roles)}",
    )


def _either(roles: list[str]) -> str:
    *others, last = roles
    return f"{', '.join(others)} or {last}" if others else last
