"""The gate: an engine that asks, before every call, whether its caller may make it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from maas.access.roles import Action, allows, check_allowed
from maas.core.generation import Delta
from maas.core.identity import ModelRef
from maas.core.messages import (
    CallContext,
    GenerateCall,
    InferCall,
    InferReply,
    ModelView,
    Principal,
)
from maas.core.ports import Engine
from maas.core.records import Role


class Gate:
    """An `Engine` around an engine. Cancelling a call cancels the one inside it.

    Args:
        engine: what answers the calls that are let through.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        # Decided once: the roles do not change, and this is on the path of every call.
        self._callers = frozenset(role.value for role in Role if allows(role.value, Action.CALL))

    def resolve(self, ref: ModelRef, context: CallContext) -> ModelView:
        """Says which version a reference means now.

        Raises:
            MaasError: PERMISSION_DENIED if the caller's role may not call, else the engine's own.
        """
        self._check(context.principal)
        return self._engine.resolve(ref, context)

    def infer(self, call: InferCall) -> Coroutine[Any, Any, InferReply]:
        """Answers one prediction.

        Raises:
            MaasError: PERMISSION_DENIED if the caller's role may not call, else the engine's own.
        """
        self._check(call.context.principal)
        return self._engine.infer(call)

    def generate(self, call: GenerateCall) -> AsyncGenerator[Delta]:
        """Answers a call of a language model.

        Raises:
            MaasError: PERMISSION_DENIED at once if the caller's role may not call, else the
                engine's own.
        """
        self._check(call.context.principal)
        return self._engine.generate(call)

    def _check(self, principal: Principal) -> None:
        if principal.role not in self._callers:
            check_allowed(principal, Action.CALL)
