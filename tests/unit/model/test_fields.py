from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from sqlalchemy import MetaData, create_engine, select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from maas.core.tensor import DType, TensorSpec
from maas.model import Model
from maas.model.fields import (
    BooleanField,
    DateTimeField,
    FloatField,
    IntegerField,
    JSONField,
    MsgspecField,
    StringField,
)
from maas.model.types import rfc3339


class Everything(Model, metadata=MetaData()):
    pass


class Thing(Everything):
    __tablename__ = "thing"

    id = IntegerField(primary_key=True)
    words = StringField(unique=True, length=80)
    number = IntegerField()
    share = FloatField()
    flag = BooleanField()
    moment = DateTimeField()
    anything = JSONField()
    spec = MsgspecField(TensorSpec)
    figures = MsgspecField(dict[str, float])


@pytest.fixture
def session() -> Any:
    engine = create_engine("sqlite://")
    Everything.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_each_field_gives_back_what_it_was_given(session: Session) -> None:
    east = timezone(timedelta(hours=8))
    values = {
        "words": "'; DROP TABLE thing; -- 模型\0",
        "number": 2**53 + 1,
        "share": 0.1,
        "flag": True,
        "moment": datetime(2026, 1, 31, 20, 0, 0, 1500, tzinfo=east),
        "anything": {"a": [1, None, "ü"]},
        "spec": TensorSpec("x", DType.FP32, (None, 4), ("a", "b")),
        "figures": {"rmse": 3.1},
    }
    session.add(Thing(**values))
    session.commit()
    session.expunge_all()
    thing = session.scalars(select(Thing)).one()
    assert {name: getattr(thing, name) for name in values} == values
    assert thing.moment.tzinfo is UTC
    stored = session.execute(text("SELECT moment, spec FROM thing")).one()
    assert stored[0] == "2026-01-31T12:00:00.001500Z"
    assert msgspec.json.decode(stored[1])["dtype"] == "FP32"


def test_what_is_absent_is_null_in_the_table(session: Session) -> None:
    session.add(Thing())
    session.commit()
    row = session.execute(text("SELECT * FROM thing")).one()
    assert row[0] == 1
    assert set(row[1:]) == {None}


def test_a_moment_without_a_time_zone_is_refused(session: Session) -> None:
    session.add(Thing(moment=datetime(2026, 1, 31)))
    with pytest.raises(StatementError, match="has no time zone"):
        session.flush()


def test_moments_sort_as_their_texts() -> None:
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in (0, 1, 10**6)]
    texts = [rfc3339(moment) for moment in moments]
    assert texts == sorted(texts)
    assert texts[0] == "2026-01-01T00:00:00.000000Z"
