"""The snippet of the document that asks for `maas.model`, exactly as it is written there."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from maas.model import Model
from maas.registry.tables import Table

SNIPPET = """
from maas.model import Model
from maas.model.fields import StringField, FloatField

class ModelService(Model):
    __tablename__ = 'model_service'
    id = StringField(primary_key=True)
    name = StringField(required=True)
    version = StringField(required=True)
    description = StringField()
    accuracy = FloatField(required=True)
"""


def run_cell() -> Any:
    """Runs the snippet as a notebook cell does, and gives the class."""
    cell: dict[str, Any] = {"__name__": "notebook"}
    exec(SNIPPET, cell)
    return cell["ModelService"]


def test_the_class_is_stored_and_queried() -> None:
    model_service = run_cell()
    engine = create_engine("sqlite://")
    Model.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(
            model_service(id="1", name="鸢尾花", version="1", description="三类", accuracy=0.97)
        )
        session.add(model_service(id="2", name="digits", version="1", accuracy=0.5))
        session.commit()
    with Session(engine) as session:
        found = session.scalars(select(model_service).where(model_service.accuracy > 0.9)).one()
        assert (found.id, found.name, found.description) == ("1", "鸢尾花", "三类")
        assert session.get(model_service, "2").description is None
    engine.dispose()


def test_a_missing_required_field_is_named() -> None:
    model_service = run_cell()
    with pytest.raises(ValueError, match=r"ModelService needs a value for version and accuracy"):
        model_service(id="1", name="iris")
    with pytest.raises(ValueError, match=r"a value for name"):
        model_service(id="1", name=None, version="1", accuracy=0.5)
    with pytest.raises(ValueError, match=r"a value for id"):
        model_service(name="iris", version="1", accuracy=0.5)
    with pytest.raises(TypeError, match=r"speed"):
        model_service(id="1", name="iris", version="1", accuracy=0.5, speed=3)


def test_the_table_says_not_null() -> None:
    columns = run_cell().__table__.columns
    assert {column.name for column in columns if not column.nullable} == {
        "id",
        "name",
        "version",
        "accuracy",
    }


def test_running_the_cell_again_replaces_the_class() -> None:
    former = run_cell()
    again = run_cell()
    assert again is not former
    assert Model.metadata.tables["model_service"] is again.__table__
    engine = create_engine("sqlite://")
    Model.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(again(id="1", name="iris", version="1", accuracy=0.9))
        session.commit()
        assert session.scalars(select(again)).one().name == "iris"
    engine.dispose()


def test_the_registry_is_declared_with_the_same_class_in_tables_of_its_own() -> None:
    run_cell()
    assert issubclass(Table, Model)
    assert "model_service" not in Table.metadata.tables
    assert not set(Table.metadata.tables) & set(Model.metadata.tables)
