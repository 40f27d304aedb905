"""Alembic's environment for the registry's database."""
