"""From an upload to a version.

    detect ─▶ first child: scan, inspect, lower, prove ─▶ vet ─▶ second child: race ─▶ commit

The first child opens what was published and may run its code; the second holds engines only, and
tries those that can run an ONNX form. Neither is believed where it counts.

A version is READY with its report or it does not exist: on any failure the staging folder goes.
"""

from __future__ import annotations

from collections.abc import Mapping

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import check_publish_name
from maas.core.ports import Runtime
from maas.core.records import PublishOptions, VersionRecord
from maas.publish.detect import detect
from maas.publish.engines import check_engine
from maas.publish.examination import Examination
from maas.publish.language_options import check_language_options
from maas.publish.messages import Emit
from maas.publish.uploads import (
    ARTIFACT,
    Upload,
    clear_rest,
    digest_of,
    fingerprint_of,
)
from maas.publish.upstream_examine import UPSTREAM, describe_upstream, upstream_runtime
from maas.registry.catalog import Registry
from maas.registry.drafts import VersionDraft, check_options
from maas.runtimes.wording import one_sentence
from maas.settings import PublishSettings


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
        under the same name give the version that is there, and so do the same bytes under a
        number that the options give.

    Raises:
        MaasError: INVALID_ARGUMENT for what is wrong with the name, the options or the file;
            RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, TOO_LARGE for its bounds; FAILED_PRECONDITION
            where something needed is not installed; ALREADY_EXISTS for a number given in the
            options that means other content, and for names that another model has.
    """
    try:
        check_publish_name(name)
        check_options(options)
        emit("detect", f"recognising {_short(upload.filename)}", 0.02)
        detected = detect(upload.path, upload.filename, options.trust)
        if detected.format == UPSTREAM:
            describe_upstream(upload, upstream_runtime(runtimes), emit)
        digest = digest_of(upload.path)
        fingerprint = fingerprint_of(digest, upload.sample, options, upload.code)
        existing = (
            registry.find(name, fingerprint)
            if options.version is None
            else registry.numbered(name, options.version, digest)
        )
        if existing is not None:
            return existing, False
        check_language_options(upload, options, detected.format)
        registry.check_served(name, options.served_names)
        check_engine(options.engine, detected.format, runtimes)
        examination = Examination(detected, runtimes, options, settings, name, emit, digest)
        finding = examination.run(upload)
        report = examination.report(finding, upload.staged / ARTIFACT)
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
