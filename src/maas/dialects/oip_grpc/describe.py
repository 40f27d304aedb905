"""What a server says of its models beside predictions, as messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from maas.core.messages import ModelView
from maas.core.statistics import DurationStat, RepositoryEntry, VersionStatistics
from maas.core.tensor import TensorSpec
from maas.dialects.oip.config import ModelConfig
from maas.dialects.oip.fixed import LOGGING, TRACING
from maas.dialects.oip.repository import STATES
from maas.dialects.signatures import pick_signature
from maas.protos import message

_MEASURED = ("success", "fail", "queue", "compute_infer")
_UNMEASURED = ("compute_input", "compute_output", "cache_hit", "cache_miss")


def model_metadata(view: ModelView, versions: Sequence[int]) -> Any:
    """A ModelMetadataResponse; -1 stands for any size.

    Args:
        view: the version asked for.
        versions: those that can be called.
    """
    signature = pick_signature(view)
    answer = message("inference.ModelMetadataResponse")(
        name=view.servable.name,
        versions=[str(version) for version in versions],
        platform=view.platform,
    )
    _describe(answer.inputs, signature.inputs)
    _describe(answer.outputs, signature.outputs)
    return answer


def _describe(into: Any, specs: Iterable[TensorSpec]) -> None:
    for spec in specs:
        shape = [-1 if size is None else size for size in spec.shape]
        into.add(name=spec.name, datatype=spec.dtype.text, shape=shape)


def config_response(config: ModelConfig) -> Any:
    """A ModelConfigResponse."""
    answer = message("inference.ModelConfigResponse")()
    into = answer.config
    into.name = config.name
    into.platform = config.platform
    into.backend = config.backend
    into.max_batch_size = config.max_batch_size
    into.version_policy.specific.versions.extend(config.versions)
    for tensors, configs in ((into.input, config.inputs), (into.output, config.outputs)):
        for one in configs:
            tensor = tensors.add(name=one.name, data_type=one.data_type, dims=one.dims)
            if one.reshape is not None:
                tensor.reshape.shape.extend(one.reshape)
                tensor.reshape.SetInParent()
    into.instance_group.add(name=config.name, kind="KIND_CPU", count=1)
    if config.max_batch_size:
        into.dynamic_batching.SetInParent()
    return answer


def statistics_response(statistics: Iterable[VersionStatistics]) -> Any:
    """A ModelStatisticsResponse; what REST's `encode_statistics` says of its figures holds."""
    answer = message("inference.ModelStatisticsResponse")()
    for one in statistics:
        into = answer.model_stats.add(
            name=one.servable.name,
            version=str(one.servable.version),
            last_inference=one.last_inference_ms,
            inference_count=one.inference_count,
            execution_count=one.execution_count,
        )
        for name in _MEASURED:
            stat: DurationStat = getattr(one, name)
            duration = getattr(into.inference_stats, name)
            duration.count, duration.ns = stat.count, stat.ns
        for name in _UNMEASURED:
            getattr(into.inference_stats, name).SetInParent()
        for batch in one.batches:
            run = into.batch_stats.add(batch_size=batch.batch_size)
            run.compute_input.SetInParent()
            run.compute_infer.count = batch.compute_infer.count
            run.compute_infer.ns = batch.compute_infer.ns
            run.compute_output.SetInParent()
    return answer


def index_response(entries: Iterable[RepositoryEntry]) -> Any:
    """A RepositoryIndexResponse."""
    answer = message("inference.RepositoryIndexResponse")()
    for entry in entries:
        answer.models.add(
            name=entry.servable.name,
            version=str(entry.servable.version),
            state=STATES[entry.state],
            reason=entry.reason,
        )
    return answer


def log_settings_response() -> Any:
    """A LogSettingsResponse."""
    answer = message("inference.LogSettingsResponse")()
    for name, value in LOGGING.items():
        setting = answer.settings[name]
        if isinstance(value, bool):
            setting.bool_param = value
        elif isinstance(value, int):
            setting.uint32_param = value
        else:
            setting.string_param = value
    return answer


def trace_settings_response() -> Any:
    """A TraceSettingResponse."""
    answer = message("inference.TraceSettingResponse")()
    for name, value in TRACING.items():
        answer.settings[name].value.extend([value] if isinstance(value, str) else value)
    return answer
