"""An ingress process: the data plane. It holds no model and no engine.

```
Envoy (pyvoy) or uvicorn ─▶ DataPlane ─▶ dialect ─▶ Texts ─▶ Gate ─▶ Meter ─▶ Router ─▶ HostReplica
                                                   keys ◀─ Follower ─▶ plan
```

`app` is what Envoy embeds; it reads the settings from the file named in the environment.
`python -m maas.ingress --settings FILE` is the same behind uvicorn.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from maas.access.authenticator import Authenticator
from maas.access.gate import Gate
from maas.access.keyring import Keyring
from maas.core.layout import API_SOCKET, CONTROL_SOCKET, SETTINGS
from maas.metering.meter import Meter
from maas.serving.follower import Follower
from maas.serving.messages import Ack, FromProcess, Hello
from maas.serving.plan import KEYS_FILE, read_plan
from maas.serving.processes import end_with_parent, read_settings
from maas.serving.router import Router
from maas.serving.texts import Texts
from maas.settings import Settings, needs_key
from maas.telemetry.logs import configure_logging
from maas.telemetry.metrics import Metrics
from maas.wire.dataplane import DataPlane
from maas.wire.gone import has_gone
from maas.wire.http import Receive, Scope, Send

INGRESS_ID = "ingress-1"
GC_THRESHOLD = 50_000
"""Objects made before the youngest are looked through; Python's own figure is 700."""
SWITCH_S = 0.0005
"""How long the thread that decodes large bodies keeps the loop waiting; Python's own is 5 ms."""


class Ingress:
    """Puts the parts together when the server's lifespan starts."""

    def __init__(self, settings: Settings):
        run = Path(settings.paths.run)
        self._run = run
        metrics = Metrics()
        limits = settings.limits
        self._router = Router(
            settings.serving,
            limits.waiting_rows,
            limits.call_s,
            self._say,
            has_gone,
            settings.generation,
        )
        self._authenticator = Authenticator(Keyring(0), needs_key(settings.server))
        self._follower = Follower(
            run / CONTROL_SOCKET, Hello("ingress", INGRESS_ID, os.getpid()), self._apply, metrics
        )
        self.plane = DataPlane(
            engine=Texts(Gate(Meter(self._router, metrics)), settings.generation.infer_tokens),
            router=self._router,
            authenticator=self._authenticator,
            settings=settings,
            metrics=metrics,
            ready=self._is_ready,
            ask=self._follower.ask,
        )

    def _is_ready(self) -> bool:
        """Whether an acknowledged plan is in force, and the first round of imports is over."""
        return self._follower.acknowledged and not self._router.plan.importing

    def _say(self, message: FromProcess) -> None:
        self._follower.say(message)

    async def _apply(self) -> Ack:
        """Puts the newest plan and keys in force."""
        keyring = Keyring.decode((self._run / KEYS_FILE).read_bytes())
        self._authenticator.replace(keyring)
        plan = read_plan(self._run)
        held = self._router.plan
        if (plan.epoch, plan.number) != (held.epoch, held.number):
            await self._router.follow(plan)
        return Ack(plan.epoch, plan.number, keyring.number)

    async def run(self) -> None:
        """Follows control for ever."""
        await self._follower.run()


class App:
    """The ASGI application: lifespan, then the data plane."""

    def __init__(self) -> None:
        self._plane: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or runs the lifespan."""
        if scope["type"] == "http":
            assert self._plane is not None
            await self._plane(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        configure_logging(INGRESS_ID)
        end_with_parent()
        ingress = Ingress(read_settings(Path(os.environ[SETTINGS])))
        self._plane = ingress.plane
        # What is here now stays; collecting young objects 70 times less often saves 2 µs a call.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 20)
        sys.setswitchinterval(SWITCH_S)
        following = asyncio.create_task(ingress.run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        following.cancel()
        await send({"type": "lifespan.shutdown.complete"})


app = App()


def main() -> None:
    """Runs the data plane behind uvicorn: HTTP/1.1 only, no gRPC."""
    from maas.wire.fallback import ControlProxy, serve

    settings = read_settings(Path(os.environ[SETTINGS]))
    socket = Path(settings.paths.run) / API_SOCKET
    serve(ControlProxy(app, socket), settings.server)


if __name__ == "__main__":
    main()
