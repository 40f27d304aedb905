from __future__ import annotations

from itertools import pairwise

import pytest

from maas.access import Action, allows, check_allowed
from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import Principal
from maas.core.records import Role

TABLE = {
    Role.CALLER: {Action.CALL, Action.READ},
    Role.PUBLISHER: {Action.CALL, Action.READ, Action.OPERATE, Action.PUBLISH},
    Role.OPERATOR: set(Action) - {Action.MANAGE_KEYS},
    Role.OWNER: set(Action),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_each_role_may_do_what_its_description_says(role: Role, action: Action) -> None:
    assert allows(role.value, action) is (action in TABLE[role])


def test_each_role_may_do_what_those_after_it_may() -> None:
    may = [{action for action in Action if allows(role.value, action)} for role in Role]
    assert all(above > below for above, below in pairwise(may))


@pytest.mark.parametrize("role", ["", "root", "OWNER", "owner "])
def test_an_unknown_role_may_do_nothing(role: str) -> None:
    assert not any(allows(role, action) for action in Action)


def test_the_refusal_names_the_roles_that_may() -> None:
    with pytest.raises(MaasError) as caught:
        check_allowed(Principal("key_1", "ann", "caller"), Action.PUBLISH)
    assert caught.value.kind is ErrorKind.PERMISSION_DENIED
    assert caught.value.message == (
        "the key 'ann' has the role 'caller', which may not publish, change or delete models; "
        "use a key with the role owner, operator or publisher"
    )
