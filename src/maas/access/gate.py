"""The gate: an engine that asks, before every call, whether its caller may make it."""

from __future__ import annotations

from maas.access.roles import Action, check_allowed
from maas.core.identity import ModelRef
from maas.core.messages import CallContext, InferCall, InferReply, ModelView
from maas.core.ports import Engine


class Gate:
    """An `Engine` around an engine. Cancelling a call cancels the one inside it.

    Args:
        engine: what answers the calls that are let through.
    """

    def __init__(self, engine: Engine):
        self._engine = engine

    def resolve(self, ref: ModelRef, context: CallContext) -> ModelView:
        """Says which version a reference means now.

        Raises:
            MaasError: PERMISSION_DENIED if the caller's role may not call, else the engine's own.
        """
        check_allowed(context.principal, Action.CALL)
        return self._engine.resolve(ref, context)

    async def infer(self, call: InferCall) -> InferReply:
        """Answers one prediction.

        Raises:
            MaasError: PERMISSION_DENIED if the caller's role may not call, else the engine's own.
        """
        check_allowed(call.context.principal, Action.CALL)
        return await self._engine.infer(call)
