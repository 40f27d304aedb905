"""From an upload to a version: detect → (in the child: scan … time) → commit.

A version is READY with its report or it does not exist: on any failure the staging folder goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import check_publish_name
from maas.core.ports import Artifact, Runtime
from maas.core.records import PublishOptions, Report, VersionRecord
from maas.publish.child_process import run_child
from maas.publish.detect import Detected, detect
from maas.publish.messages import Emit, Finding, Job
from maas.publish.uploads import (
    ARTIFACT,
    WORK,
    Upload,
    clear_rest,
    digest_of,
    fingerprint_of,
    keep_original,
    size_of,
)
from maas.registry.catalog import Registry
from maas.registry.drafts import VersionDraft, check_options
from maas.runtimes.wording import one_sentence
from maas.settings import MIB, PublishSettings


def publish(
    registry: Registry,
    runtimes: Mapping[str, Runtime],
    name: str,
    upload: Upload,
    options: PublishOptions,
    settings: PublishSettings,
    created_by: str,
    emit: Emit,
) -> tuple[VersionRecord, bool]:
    """Publishes a file or folder. Blocks for seconds; call it in a thread.

    Args:
        registry: where versions are kept.
        runtimes: by name, as `load_runtimes` gives them.
        name: the model's name.
        upload: what was sent; its staging folder is gone when this returns or raises.
        options: what the publisher says about it.
        settings: bounds of the examination.
        created_by: who publishes.
        emit: hears of progress.

    Returns:
        The version, and whether it is new: the same bytes, sample and options published again
        under the same name give the version that is there.

    Raises:
        MaasError: INVALID_ARGUMENT for what is wrong with the name, the options or the file;
            RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, TOO_LARGE for its bounds; FAILED_PRECONDITION
            where something needed is not installed.
    """
    try:
        check_publish_name(name)
        check_options(options)
        emit("detect", f"recognising {_short(upload.filename)}", 0.02)
        detected = detect(upload.path, upload.filename)
        digest = digest_of(upload.path)
        fingerprint = fingerprint_of(digest, upload.sample, options)
        existing = registry.find(name, fingerprint)
        if existing is not None:
            return existing, False
        finding = _examine(upload, detected, options, settings, emit)
        report = _report(finding, detected, runtimes, upload.staged / ARTIFACT)
        emit("commit", "storing the version", 0.95)
        clear_rest(upload.staged)
        draft = VersionDraft(
            name=name,
            digest=digest,
            fingerprint=fingerprint,
            entry=finding.entry,
            format=finding.format,
            signatures=finding.signatures,
            report=report,
            options=options,
            created_by=created_by,
        )
        return registry.commit(upload.staged, draft), True
    except OSError as error:
        raise MaasError(
            ErrorKind.RESOURCE_EXHAUSTED,
            f"the model could not be stored ({error.strerror or one_sentence(error)}); "
            "free some disk space and publish it again",
        ) from error
    finally:
        registry.discard(upload.staged)


def _short(filename: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in filename)[-80:]


def _examine(
    upload: Upload,
    detected: Detected,
    options: PublishOptions,
    settings: PublishSettings,
    emit: Emit,
) -> Finding:
    kept = keep_original(upload)
    artifact = upload.staged / ARTIFACT
    artifact.mkdir(mode=0o700)
    work = upload.staged / WORK
    work.mkdir(mode=0o700)
    sample = upload.sample
    job = Job(
        format=detected.format,
        source=str(kept),
        entry=detected.entry if kept.is_dir() else "",
        sample=str(sample) if sample is not None else "",
        sample_name=sample.name if sample is not None else "",
        code=str(upload.code) if upload.code is not None else "",
        artifact=str(artifact),
        work=str(work),
        samples=settings.samples,
        threads=settings.threads,
        trust=options.trust,
        engine=options.engine,
        cpu_s=int(settings.inspect_s) + 1,
        # A lowered form may be larger than its source, a tree in text for one.
        file_bytes=16 * (size_of(kept.parent)) + 256 * MIB,
    )
    return run_child(job, settings, emit)


def _report(
    finding: Finding, detected: Detected, runtimes: Mapping[str, Runtime], folder: Path
) -> Report:
    runtime = runtimes.get(finding.engine)
    if runtime is None:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"the runtime {finding.engine!r} is not installed; reinstall maas-server",
        )
    artifact = Artifact(str(folder), finding.entry, finding.format, finding.signatures)
    return Report(
        format=detected.format,
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
        warnings=finding.warnings,
        size_bytes=size_of(folder),
        memory_bytes=runtime.estimate(artifact).memory_bytes,
    )
