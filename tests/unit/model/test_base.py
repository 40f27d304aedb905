from __future__ import annotations

from typing import Any, ClassVar

import pytest
from sqlalchemy import ForeignKey, MetaData, create_engine, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, relationship

from maas.model import Model
from maas.model.fields import IntegerField, StringField


def family() -> Any:
    """A base of its own, so that tests do not meet in `Model.metadata`."""

    class Family(Model, metadata=MetaData()):
        pass

    return Family


def test_a_table_of_another_module_is_not_replaced() -> None:
    base = family()

    def declare(module: str) -> None:
        type("Row", (base,), {
            "__module__": module,
            "__tablename__": "row",
            "id": StringField(primary_key=True),
        })  # fmt: skip

    declare("one")
    declare("one")
    with pytest.raises(ValueError, match=r"'row' is already declared in module one"):
        declare("other")


def test_an_integer_primary_key_numbers_itself() -> None:
    class Job(family()):  # type: ignore[misc]
        __tablename__ = "job"
        id = IntegerField(primary_key=True)
        state = StringField(required=True, default="new")

    engine = create_engine("sqlite://")
    Job.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Job(), Job()])
        session.commit()
        rows = session.scalars(select(Job).order_by(Job.id)).all()
        assert [(row.id, row.state) for row in rows] == [(1, "new"), (2, "new")]
    engine.dispose()


@pytest.mark.parametrize("by_name", [True, False])
def test_a_foreign_key_may_come_from_a_relationship_and_survives_a_second_declaration(
    by_name: bool,
) -> None:
    base = family()

    def declare() -> tuple[Any, Any]:
        class Team(base):  # type: ignore[misc, valid-type]
            __tablename__ = "team"
            id = IntegerField(primary_key=True)

        class Member(base):  # type: ignore[misc, valid-type]
            __tablename__ = "member"
            id = IntegerField(primary_key=True)
            team_id = IntegerField(ForeignKey("team.id"), required=True)
            team = relationship("Team" if by_name else Team)

        return Team, Member

    declare()
    team, member = declare()
    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(member(team=team()))
        session.commit()
        assert session.scalars(select(member)).one().team_id == 1
    engine.dispose()


def test_a_class_that_cannot_be_configured_harms_no_other() -> None:
    class Broken(Model):
        __tablename__ = "broken"
        id = IntegerField(primary_key=True)
        nobody = relationship("Nobody")

    class Sound(Model):
        __tablename__ = "sound"
        id = IntegerField(primary_key=True)

    with pytest.raises(InvalidRequestError, match="Nobody"):
        Broken(id=1)
    assert Sound(id=1).id == 1
    for cls in (Broken, Sound):
        Model.metadata.remove(cls.__table__)  # type: ignore[attr-defined]


def test_a_class_may_extend_another() -> None:
    class Animal(family()):  # type: ignore[misc]
        __tablename__ = "animal"
        id = IntegerField(primary_key=True)
        kind = StringField(required=True)
        __mapper_args__: ClassVar[Any] = {"polymorphic_on": "kind", "polymorphic_identity": "any"}

    class Dog(Animal):
        __mapper_args__: ClassVar[Any] = {"polymorphic_identity": "dog"}
        trick = StringField()

    engine = create_engine("sqlite://")
    Animal.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Dog(kind="dog", trick="sits"))
        session.commit()
        session.expunge_all()
        assert session.scalars(select(Animal)).one().trick == "sits"
    engine.dispose()
