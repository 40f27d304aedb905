"""Served names: further names by which request bodies may ask for a language model.

A name means one model: what is a model's name, or is served by one, is nobody else's served name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import MAX_NAME, check_name
from maas.registry.tables import ModelRow, VersionRow


def check_served_name(name: str) -> str:
    """Returns the name if it may be served: as a model's, and `/` may stand between parts of it.

    Raises:
        MaasError: INVALID_ARGUMENT, also for one that is not in Unicode's composed form (NFC), as
            names are compared.
    """
    if len(name) > MAX_NAME:
        raise invalid(
            f"the served name {name[:40]!r} … has {len(name)} characters; at most {MAX_NAME} fit"
        )
    try:
        for part in name.split("/"):
            check_name(part, "served name")
    except MaasError:
        raise invalid(
            f"{name[:40]!r} is not a served name: use letters, digits, '.', '_' or '-', each part "
            "between slashes beginning with a letter or a digit"
        ) from None
    if not unicodedata.is_normalized("NFC", name):
        raise invalid(f"the served name {name[:40]!r} is decomposed Unicode; write it in NFC")
    return name


def check_served(session: Session, name: str, served: Sequence[str]) -> None:
    """Checks that a model and the names it is to be served under are nobody else's.

    Args:
        session: a transaction.
        name: the model's name.
        served: its served names.

    Raises:
        MaasError: ALREADY_EXISTS, naming the model that has the name.
    """
    wanted = sorted(set(served) - {name})
    model = session.scalars(
        select(ModelRow.name)
        .where(ModelRow.deleted_at.is_(None), ModelRow.name.in_(wanted))
        .order_by(ModelRow.name)
        .limit(1)
    ).first()
    if model is not None:
        raise MaasError(
            ErrorKind.ALREADY_EXISTS,
            f"{model!r} cannot be a served name of {name}: a model is called that; choose another",
        )
    # One row for each served name of each version; JSON's null and what is absent give none.
    path = "$.generative.served_names"
    each = func.json_each(VersionRow.report, path).table_valued("value", joins_implicitly=True)
    taken = session.execute(
        select(VersionRow.name, each.c.value)
        .where(VersionRow.name != name, each.c.value.in_([name, *wanted]))
        .order_by(VersionRow.name)
        .limit(1)
    ).first()
    if taken is None:
        return
    other, text = taken
    if text == name:
        raise MaasError(
            ErrorKind.ALREADY_EXISTS,
            f"{name!r} is a served name of {other}; choose another name, or delete those versions "
            "of it",
        )
    raise MaasError(
        ErrorKind.ALREADY_EXISTS,
        f"{text!r} is a served name of {other} already; a name can mean one model only: choose "
        "another, or delete those versions of it",
    )
