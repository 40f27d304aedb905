"""The two text files that other servers keep beside models: `models.config` and `config.pbtxt`.

Source: TensorFlow Serving's `model_server_config.proto`, Triton's `model_config.proto`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from google.protobuf import text_format  # type: ignore[import-untyped]

from maas import protos
from maas.admin.imports.sources import All, Latest, Policy, Source, Specific
from maas.core.errors import MaasError, invalid
from maas.core.identity import check_publish_name
from maas.registry.names import alias_name

MAX_CONFIG_BYTES = 1 << 20
MAX_MODELS = 10_000
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def read_models_config(text: bytes, beside: Path) -> tuple[Source, ...]:
    """Reads TensorFlow Serving's list of models.

    Args:
        text: the file; `model_list_config { config { name … base_path … } … }`.
        beside: the file's folder, which relative base paths are meant from.

    Returns:
        The models, in the file's order.

    Raises:
        MaasError: INVALID_ARGUMENT for a file of another form, with its line, and for what
            cannot be followed: no model at all, a name twice, a path that is none.
    """
    config = _parsed("tensorflow.serving.ModelServerConfig", text)
    models = config.model_config_list.config
    if not models:
        raise invalid("it names no model; expected model_config_list { config { … } }")
    if len(models) > MAX_MODELS:
        raise invalid(f"it names {len(models)} models; at most {MAX_MODELS} can be watched")
    sources: dict[str, Source] = {}
    for model in models:
        source = _source(model, beside)
        if source.name in sources:
            raise invalid(f"the model {source.name!r} is there twice; give each its own name")
        sources[source.name] = source
    return tuple(sources.values())


def triton_policy(text: bytes) -> Policy:
    """Which versions Triton's `config.pbtxt` has served; the latest one where it cannot be read.

    What is wrong with the file is said where the model is published.
    """
    try:
        config = _parsed("inference.ModelConfig", text)
    except MaasError:
        return Latest()
    return _versions(config.version_policy)


def _source(model: Any, beside: Path) -> Source:
    try:
        name = check_publish_name(model.name)
        if not model.base_path:
            raise invalid("it has no base_path")
        if _URI.match(model.base_path):
            raise invalid(f"its base_path {model.base_path[:80]!r} is not a folder of this machine")
        labels = {alias_name(label): int(n) for label, n in model.version_labels.items()}
    except MaasError as error:
        raise invalid(f"model {model.name[:40]!r}: {error.message}") from None
    folder = beside / model.base_path
    return Source(name, str(folder), "", _versions(model.model_version_policy), labels)


def _versions(policy: Any) -> Policy:
    """Both servers' messages say it alike."""
    match policy.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(tuple(policy.specific.versions))
        case "latest":
            # An absent number is zero here, and means one there.
            return Latest(max(1, policy.latest.num_versions))
        case _:
            return Latest()


def _parsed(kind: str, text: bytes) -> Any:
    if len(text) > MAX_CONFIG_BYTES:
        raise invalid(f"it is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        return text_format.Parse(text.decode("utf-8-sig"), protos.message(kind)())
    except UnicodeDecodeError:
        raise invalid("it is not UTF-8 text") from None
    except text_format.ParseError as error:
        line = error.GetLine()
        where = f"line {line}: " if line else ""
        said = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise invalid(f"{where}{' '.join(said.split())[:200]}") from None
    except RecursionError:
        raise invalid("its messages are nested too deep") from None
