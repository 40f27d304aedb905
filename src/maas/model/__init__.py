"""Declarative records: a class with fields becomes a table, thin over SQLAlchemy 2."""

from __future__ import annotations

from maas.model.base import Model

__all__ = ["Model"]
