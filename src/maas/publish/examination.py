"""One publish's two children, and the report on what they found."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import GenerativeSpec
from maas.core.ports import Accelerated, Artifact, Runtime
from maas.core.records import PublishOptions, Report
from maas.publish.child_process import run_child
from maas.publish.choose import beside
from maas.publish.detect_file import Detected
from maas.publish.engines import LANGUAGE, ONNX, check_obeyed, check_trusted, racers
from maas.publish.messages import Emit, Finding, Job, Raced, RaceJob
from maas.publish.uploads import ARTIFACT, WORK, Upload, keep_original, link_published, size_of
from maas.publish.upstream_examine import UPSTREAM, examine_upstream, upstream_runtime
from maas.publish.vetting import check_signatures, vet_finding
from maas.settings import MIB, PublishSettings

RACE = ("-P", "-m", "maas.publish.race_child")


class Examination(Struct, frozen=True):
    """What both children are told.

    Args:
        detected: what was published.
        runtimes: those there are, by name.
        options: what the publisher says.
        settings: bounds.
        name: the model's, for its log.
        emit: hears of progress.
        digest: of what was published.
    """

    detected: Detected
    runtimes: Mapping[str, Runtime]
    options: PublishOptions
    settings: PublishSettings
    name: str
    emit: Emit
    digest: str

    def run(self, upload: Upload) -> Finding:
        """Examines an upload; what is to be served lies in the staging folder afterwards.

        Raises:
            MaasError: as `publish`.
        """
        job = self._job(upload)
        if self.detected.format == UPSTREAM:
            # The sandbox has no network, and there is nothing to be opened in it.
            said: Finding | Raced = examine_upstream(
                job, upstream_runtime(self.runtimes), self.emit, self.settings.inspect_s
            )
        else:
            said = run_child(job, self.settings, self.emit, model=self.name)
        artifact, kept = Path(job.artifact), Path(job.source)
        finding = vet_finding(said, self.detected.format, self.runtimes, artifact, kept)
        check_trusted(self.options.trust, finding)
        check_obeyed(self.options.engine, finding)
        if finding.linked:
            link_published(kept, artifact, finding.linked, self.digest)
        if finding.format != ONNX:
            return finding
        return self._race(job, finding)

    def report(self, finding: Finding, folder: Path) -> Report:
        """Writes down what was found.

        Args:
            finding: of `run`.
            folder: the artifact's.
        """
        runtime = self.runtimes[finding.engine]
        artifact = Artifact(
            str(folder), finding.entry, finding.format, finding.signatures, finding.generative
        )
        return Report(
            format=self.detected.format,
            engine=finding.engine,
            platform=runtime.platform,
            host=runtime.host,
            lowered=finding.lowered,
            reason=finding.reason,
            written_with=finding.written_with,
            read_with=finding.read_with,
            parity=finding.parity,
            batch_note=finding.batch_note,
            timings=finding.timings,
            warnings=(*finding.warnings, *_unmeasured(runtime)),
            size_bytes=size_of(folder),
            memory_bytes=runtime.estimate(artifact).memory_bytes,
            trusted=self.options.trust,
            sandbox=finding.sandbox,
            confined=runtime.confined,
            generative=_named(finding.generative, self.options),
        )

    def _job(self, upload: Upload) -> Job:
        kept = keep_original(upload)
        artifact = upload.staged / ARTIFACT
        artifact.mkdir(mode=0o700)
        work = upload.staged / WORK
        work.mkdir(mode=0o700)
        sample = upload.sample
        language = self.detected.format in LANGUAGE
        return Job(
            format=self.detected.format,
            source=str(kept),
            entry=self.detected.entry if kept.is_dir() else "",
            sample=str(sample) if sample is not None else "",
            sample_name=sample.name if sample is not None else "",
            code=str(upload.code) if upload.code is not None else "",
            artifact=str(artifact),
            work=str(work),
            samples=self.settings.samples,
            threads=self.settings.threads or 1,
            trust=self.options.trust,
            engine=self.options.engine,
            # A language model is examined on every core, as it will be served.
            cpu_s=(int(self.settings.inspect_s) + 1) * (os.cpu_count() or 1 if language else 1),
            # A lowered form may be larger than its source, a tree in text for one.
            file_bytes=16 * (size_of(kept.parent)) + 256 * MIB,
            quantize=self.options.quantize,
            context_tokens=self.options.context_tokens,
        )

    def _race(self, job: Job, finding: Finding) -> Finding:
        """The finding with the engine that won; where engines crash, without them.

        Those of a device are the first to be left out, and the first engine is never.

        Raises:
            MaasError: the child's own; a crash where the engine was asked for by name.
        """
        engines = racers(self.runtimes)
        asked = self.options.engine
        while True:
            try:
                return _joined(finding, self._raced(job, finding, engines))
            except MaasError as error:
                rest = self._without(engines)
                if rest == engines or asked not in ("", *rest):
                    raise
                log = logging.getLogger(__name__)
                log.warning("%s: comparing engines failed: %s", self.name, error.message)
                left = ", ".join(engine for engine in engines if engine not in rest)
                note = f"{left} was not compared, since comparing it failed: {error.message}"
                finding = msgspec.structs.replace(finding, warnings=(*finding.warnings, note))
                engines = rest

    def _without(self, engines: tuple[str, ...]) -> tuple[str, ...]:
        """The engines without those of a device; where there are none of these, the first alone."""
        plain = tuple(one for one in engines if not isinstance(self.runtimes[one], Accelerated))
        return plain if len(plain) < len(engines) else (ONNX,)

    def _raced(self, job: Job, finding: Finding, engines: tuple[str, ...]) -> Raced:
        race = RaceJob(
            format=job.format,
            finding=finding,
            artifact=job.artifact,
            work=job.work,
            engines=engines,
            engine=job.engine,
            threads=job.threads,
            cpu_s=job.cpu_s,
            file_bytes=job.file_bytes,
        )
        raced = run_child(race, self.settings, self.emit, RACE, model=self.name)
        if not isinstance(raced, Raced) or raced.engine not in engines:
            raise MaasError(
                ErrorKind.INTERNAL, "the engines' process answered out of turn; publish again"
            )
        check_signatures(raced.signatures)
        return raced


def _unmeasured(runtime: Runtime) -> tuple[str, ...]:
    if not isinstance(runtime, Accelerated):
        return ()
    return (f"the memory that it takes of the device ({runtime.device}) is not measured",)


def _named(spec: GenerativeSpec | None, options: PublishOptions) -> GenerativeSpec | None:
    """What was found out about a language model, with what its publisher says."""
    if spec is None:
        return None
    return msgspec.structs.replace(
        spec, drop_params=options.drop_params, served_names=options.served_names
    )


def _joined(finding: Finding, raced: Raced) -> Finding:
    """What both children found; where both have timed an engine, the second has."""
    engines = {timing.engine for timing in raced.timings}
    others = [timing for timing in finding.timings if timing.engine not in engines]
    return msgspec.structs.replace(
        finding,
        engine=raced.engine,
        signatures=raced.signatures,
        reason=raced.reason,
        batch_note=raced.batch_note,
        timings=(*raced.timings, *(beside(timing, raced.timings[0]) for timing in others)),
        read_with={**finding.read_with, **raced.read_with},
    )
