"""The router: the ingress's Engine. It resolves references against the plan and finds replicas.

A call whose host died is retried once on its successor. A call for a version that is not loaded,
or whose host is being started again, waits until it is, or until its deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from maas.core.errors import ErrorKind, MaasError, not_found
from maas.core.generation import Delta
from maas.core.identity import ModelRef, ServableId
from maas.core.messages import (
    CallContext,
    GenerateCall,
    InferCall,
    InferReply,
    ModelView,
    VersionStatus,
)
from maas.core.states import ServableState
from maas.serving.answering import answer
from maas.serving.messages import FromProcess, Lost, Overdue, Want
from maas.serving.missing import listing, no_model, nothing_serves
from maas.serving.plan import EMPTY, HostPlan, ModelPlan, Plan
from maas.serving.replica import HasGone, HostReplica
from maas.serving.segments import Budget
from maas.serving.streams import ReplicaLostError
from maas.settings import GenerationSettings, ServingSettings

RECONNECT_S = 0.02
FINISH_TICKS = 25


class Router:
    """Lives on the ingress's event loop.

    Args:
        settings: handed to the replicas.
        waiting_rows: rows that may wait for one version.
        call_s: how long a host may take for a call, whatever less its caller asks for.
        say: tells control.
        has_gone: says whether a caller has; None where that cannot be known.
        generation: how long language models may take.
    """

    def __init__(
        self,
        settings: ServingSettings,
        waiting_rows: int,
        call_s: float,
        say: Callable[[FromProcess], None],
        has_gone: HasGone | None = None,
        generation: GenerationSettings | None = None,
    ):
        self._settings = settings
        self._generation = generation or GenerationSettings()
        self._budget = Budget(settings.segment_bytes)
        self._has_gone = has_gone
        self._waiting_rows = waiting_rows
        self._call_s = call_s
        self._say = say
        self._plan = EMPTY
        self._replicas: dict[str, HostReplica] = {}
        self._incarnations: dict[str, int] = {}
        self._connecting: dict[str, asyncio.Task[None]] = {}
        self._lost_with: dict[str, int] = {}
        self._reasons: dict[ServableId, str] = {}
        self._views: dict[ModelRef, ModelView] = {}
        self._known: dict[ServableId, HostReplica] = {}
        self._changed = asyncio.Event()

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self._plan

    async def follow(self, plan: Plan, connect_s: float = 5.0) -> None:
        """Takes a new plan: connects to its hosts, then routes by it.

        Args:
            plan: the whole of it.
            connect_s: how long the hosts of AVAILABLE versions may take; routing by the plan
                begins anyway, and calls to a host that is not there wait for it.
        """
        for host_id in [*self._replicas]:
            host = plan.hosts.get(host_id)
            if host is None or host.incarnation != self._incarnations[host_id]:
                self._retire(host_id)
        for host_id in [host_id for host_id in self._connecting if host_id not in plan.hosts]:
            self._connecting.pop(host_id).cancel()
        needed = {
            version.host
            for model in plan.models.values()
            for version in model.versions.values()
            if version.state is ServableState.AVAILABLE
        }
        tasks = [
            self._connect(host_id, plan.hosts[host_id])
            for host_id in needed
            if host_id not in self._replicas
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=connect_s)
        self._plan = plan
        self._note_reasons(plan)
        self._views.clear()
        self._known.clear()
        self._wake()
        await self._let_finish(plan)

    def _note_reasons(self, plan: Plan) -> None:
        """Keeps what the plans said last of each version: of one that serves again, too."""
        reasons = {}
        for name, model in plan.models.items():
            for number, version in model.versions.items():
                servable = ServableId(name, number)
                reasons[servable] = version.reason or self._reasons.get(servable, "")
        self._reasons = reasons

    async def _let_finish(self, plan: Plan) -> None:
        """Waits a moment for calls to versions that are about to go, before the plan is in force.

        They were resolved by an earlier plan; once this one is acknowledged the host lets go.
        """
        going = [
            (version.host, (name, number))
            for name, model in plan.models.items()
            for number, version in model.versions.items()
            if version.state is ServableState.UNLOADING
        ]
        for _ in range(FINISH_TICKS):
            if not any(
                (replica := self._replicas.get(host)) is not None and replica.works_on(*version)
                for host, version in going
            ):
                return
            await asyncio.sleep(RECONNECT_S)

    def _connect(self, host_id: str, host: HostPlan) -> asyncio.Task[None]:
        running = self._connecting.get(host_id)
        if running is not None and self._incarnations.get(host_id) == host.incarnation:
            return running
        if running is not None:
            running.cancel()
        self._incarnations[host_id] = host.incarnation
        task = asyncio.get_running_loop().create_task(self._keep_connecting(host_id, host))
        self._connecting[host_id] = task
        return task

    async def _keep_connecting(self, host_id: str, host: HostPlan) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, replica = await loop.create_unix_connection(self._new_replica, host.socket)
                replica.life = f"{host_id}#{host.incarnation}"
            except OSError:
                # Its socket appears when it has loaded what it could.
                await asyncio.sleep(RECONNECT_S)
                continue
            self._replicas[host_id] = replica
            self._connecting.pop(host_id, None)
            self._wake()
            return

    def _new_replica(self) -> HostReplica:
        return HostReplica(
            self._settings,
            self._waiting_rows,
            self._call_s,
            self._on_lost,
            self._on_overdue,
            self._budget,
            self._has_gone,
        )

    def _retire(self, host_id: str) -> None:
        """Lets a host go that the plan no longer names, once its last answer is here."""
        replica = self._replicas.pop(host_id)

        replica.close_when_idle()

    def _on_lost(self, replica: HostReplica, in_flight: tuple[tuple[str, int], ...]) -> None:
        for host_id, known in list(self._replicas.items()):
            if known is replica:
                del self._replicas[host_id]
                if in_flight and self._lost_with.get(host_id) != self._incarnations[host_id]:
                    self._lost_with[host_id] = self._incarnations[host_id]
                    self._say(Lost(host_id, self._incarnations[host_id], in_flight))
                host = self._plan.hosts.get(host_id)
                if host is not None:
                    self._connect(host_id, host)

    def _on_overdue(self, replica: HostReplica, name: str, version: int) -> None:
        for host_id, known in self._replicas.items():
            if known is replica:
                self._say(Overdue(host_id, self._incarnations[host_id], name, version))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def resolve(self, ref: ModelRef, context: CallContext) -> ModelView:
        """Says which version a reference means now.

        Raises:
            MaasError: NOT_FOUND naming what there is, UNAVAILABLE where nothing serves yet, or no
            plan has come yet.
        """
        view = self._views.get(ref)
        if view is None:
            view = self._views[ref] = self._resolve(ref)
        return view

    def _resolve(self, ref: ModelRef) -> ModelView:
        model = self._model(ref.name)
        number = ref.version
        if ref.alias is not None:
            number = model.aliases.get(ref.alias)
            if number is None:
                raise not_found(
                    f"model {ref.name!r} has no alias {ref.alias!r}"
                    + listing(" that serves; its aliases are ", sorted(model.aliases))
                )
        elif number is None:
            number = model.default
            if number is None:
                raise nothing_serves(ref.name, model)
        version = model.versions.get(number)
        if version is None:
            raise not_found(
                f"model {ref.name!r} has no version {number}"
                + listing("; its versions are ", [str(n) for n in sorted(model.versions)])
            )
        return ModelView(
            ServableId(ref.name, number),
            version.signatures,
            version.platform,
            ref.version is None and ref.alias is None,
            version.generative,
        )

    def _model(self, name: str) -> ModelPlan:
        model = self._plan.models.get(name)
        if model is None:
            raise no_model(name, self._plan)
        return model

    def statuses(self, name: str) -> tuple[VersionStatus, ...]:
        """How each version of a model stands, newest first.

        Raises:
            MaasError: NOT_FOUND, UNAVAILABLE where no plan has come yet.
        """
        model = self._model(name)
        return tuple(
            VersionStatus(ServableId(name, number), version.state, version.reason)
            for number, version in sorted(model.versions.items(), reverse=True)
        )

    async def infer(self, call: InferCall) -> InferReply:
        """Answers a prediction.

        Raises:
            MaasError: DEADLINE_EXCEEDED, UNAVAILABLE (not loaded and cannot be, or its host died
                twice under the call), RESOURCE_EXHAUSTED, or the model's own.
        """
        died: set[str] = set()
        while True:
            replica = self._known.get(call.servable)
            if replica is None or not replica.connected:
                replica = await self.find(call)
            try:
                return await replica.infer(call)
            except ReplicaLostError:
                self._known.pop(call.servable, None)
                if not replica.connected:
                    died.add(replica.life)
                if len(died) > 1:
                    raise self.deadly(call) from None
                # Either the host is gone or it lacks the version: the plan is about to change.
                await asyncio.sleep(RECONNECT_S if replica.connected else 0)
                if call.context.deadline <= time.monotonic():
                    raise self._too_late(call) from None

    def generate(self, call: GenerateCall) -> AsyncGenerator[Delta]:
        """Answers a call of a language model; close it to cancel the call.

        Raises:
            MaasError: as `infer`.
        """
        return answer(self, call, self._generation, self._has_gone)

    def forget(self, servable: ServableId) -> None:
        """The host that was found for a version is none: the next call looks anew."""
        self._known.pop(servable, None)

    def hangs(self, replica: HostReplica, servable: ServableId) -> None:
        """Tells control that a host does not answer."""
        self._on_overdue(replica, servable.name, servable.version)

    def deadly(self, call: InferCall | GenerateCall) -> MaasError:
        """The error of a call under which its host died twice."""
        said = self._reasons.get(call.servable)
        return MaasError(
            ErrorKind.UNAVAILABLE,
            f"the process of {call.servable} died twice while it worked on this call"
            + (f": {said}" if said else ""),
            retry_after_s=1.0,
        )

    async def find(self, call: InferCall | GenerateCall) -> HostReplica:
        """The replica of a version, once there is one; the next call finds it at once.

        Raises:
            MaasError: NOT_FOUND, UNAVAILABLE, DEADLINE_EXCEEDED.
        """
        replica = self._replica_of(call.servable)
        if replica is None:
            replica = await self._wait_for(call)
        self._known[call.servable] = replica
        return replica

    def _replica_of(self, servable: ServableId) -> HostReplica | None:
        model = self._plan.models.get(servable.name)
        version = None if model is None else model.versions.get(servable.version)
        if version is None or version.state not in _CALLABLE:
            return None
        return self._replicas.get(version.host)

    async def _wait_for(self, call: InferCall | GenerateCall) -> HostReplica:
        servable = call.servable
        wanted = False
        while True:
            changed = self._changed
            replica = self._replica_of(servable)
            if replica is not None:
                return replica
            model = self._plan.models.get(servable.name)
            version = None if model is None else model.versions.get(servable.version)
            if version is None:
                raise not_found(f"{servable} was deleted")
            if version.state is ServableState.END:
                if version.reason:
                    raise MaasError(
                        ErrorKind.UNAVAILABLE, f"{servable} is not loaded: {version.reason}"
                    )
                if not wanted:
                    self._say(Want(servable.name, servable.version))
                    wanted = True
            left = call.context.deadline - time.monotonic()
            if left <= 0:
                raise self._too_late(call)
            try:
                await asyncio.wait_for(changed.wait(), min(left, 1.0))
            except TimeoutError:
                wanted = False

    def _too_late(self, call: InferCall | GenerateCall) -> MaasError:
        model = self._plan.models.get(call.servable.name)
        version = None if model is None else model.versions.get(call.servable.version)
        state = "" if version is None else f" (it is {version.state})"
        return MaasError(
            ErrorKind.DEADLINE_EXCEEDED,
            f"{call.servable} was not ready before the call's deadline{state}",
        )


_CALLABLE = frozenset((ServableState.AVAILABLE, ServableState.UNLOADING))
