"""`Model`: the base class of declarative records."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.exc import SAWarning
from sqlalchemy.orm import Mapper, class_mapper, registry


class Model:
    """A record that is stored in a table.

    A subclass names its table and its fields; it is an ordinary SQLAlchemy mapped class, so its
    table is made with `Model.metadata.create_all(engine)` and it is stored and queried with a
    `Session`:

        class ModelService(Model):
            __tablename__ = "model_service"
            id = StringField(primary_key=True)
            accuracy = FloatField(required=True)

    Declaring the same table again in the same module, as a notebook cell does when it runs
    twice, replaces the former declaration.

    `class Table(Model, metadata=MetaData())` begins a family of tables of its own.

    Args:
        **values: the fields' values by name.

    Raises:
        ValueError: a required field is missing; the message names it.
        TypeError: a name that is not a field.
    """

    metadata: ClassVar[MetaData] = MetaData()
    """The tables of this family."""
    _classes: ClassVar[WeakValueDictionary[str, Any]] = WeakValueDictionary()
    """The classes of this family by name, for relationships that name one."""

    def __init__(self, **values: Any) -> None:
        mapper: Mapper[Any] = class_mapper(type(self))
        missing = [
            attribute.key
            for attribute in mapper.column_attrs
            if values.get(attribute.key) is None
            and isinstance(attribute.columns[0], Column)
            and _must_be_given(attribute.columns[0], mapper)
        ]
        if missing:
            raise ValueError(
                f"{type(self).__name__} needs a value for {' and '.join(missing)}: "
                "the field is required"
            )
        mapper.registry.constructor(self, **values)

    def __init_subclass__(cls, metadata: MetaData | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if metadata is not None:
            cls.metadata = metadata
            cls._classes = WeakValueDictionary()
            return
        # A SQLAlchemy registry for each class (and what extends it): SQLAlchemy refuses to use
        # any class of a registry once one of them cannot be configured, as one that was
        # replaced may not be.
        parent: Mapper[Any] | None = getattr(cls, "__mapper__", None)
        declare = (
            registry(metadata=cls.metadata, class_registry=cls._classes)
            if parent is None
            else parent.registry
        ).mapped
        name = cls.__dict__.get("__tablename__")
        former = cls.metadata.tables.get(name) if isinstance(name, str) else None
        if former is None:
            declare(cls)
        elif former.info.get("module") != cls.__module__:
            raise ValueError(
                f"table {name!r} is already declared in module {former.info.get('module')}; "
                f"choose another __tablename__ for {cls.__name__}"
            )
        else:
            cls.metadata.remove(former)
            if isinstance(cls._classes.get(cls.__name__), type):
                del cls._classes[cls.__name__]
            with warnings.catch_warnings():
                # SQLAlchemy warns that a class of this name exists and is being replaced,
                # which is what declaring it again asks for.
                warnings.filterwarnings("ignore", "This declarative base already", SAWarning)
                declare(cls)
        table = cls.__dict__.get("__table__")
        if isinstance(table, Table):
            table.info["module"] = cls.__module__


def _must_be_given(column: Column[Any], mapper: Mapper[Any]) -> bool:
    if column.nullable or column.default is not None or column.server_default is not None:
        return False
    if column is column.table.autoincrement_column:
        return False
    # A foreign key is filled in from a relationship at the flush, where there is one.
    return not (column.foreign_keys and mapper.relationships)
