"""HandleReloadConfigRequest: which models are wanted, and under which labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from maas.core.errors import invalid
from maas.core.identity import check_name
from maas.protos import message

MOST_MODELS = 4096
MOST_LABELS = 256


class WantedModel(Struct, frozen=True):
    """One model of a configuration.

    Args:
        name: the model's.
        version: the newest of its `specific` versions, which unversioned calls then reach; 0 for
            whichever serves.
        versions: all of them.
        labels: alias → version, all that it is to have.
    """

    name: str
    version: int
    versions: tuple[int, ...]
    labels: Mapping[str, int]


def decode_reload(request: Any) -> tuple[WantedModel, ...]:
    """Reads a `tensorflow.serving.ReloadConfigRequest`.

    Where a model's files lie (`base_path`) is not read: what is published here is served.

    Raises:
        MaasError: INVALID_ARGUMENT for another form than a list of models, a model listed twice,
            or what is no name, label or version.
    """
    if request.config.WhichOneof("config") != "model_config_list":
        raise invalid("config holds no model_config_list, the one form that is read here")
    configs = request.config.model_config_list.config
    if len(configs) > MOST_MODELS:
        raise invalid(f"config lists {len(configs)} models; expected at most {MOST_MODELS}")
    wanted: dict[str, WantedModel] = {}
    for config in configs:
        name = check_name(config.name)
        if name in wanted:
            raise invalid(f"config lists {name!r} more than once; list each model once")
        wanted[name] = _read(name, config)
    return tuple(wanted.values())


def _read(name: str, config: Any) -> WantedModel:
    policy = config.model_version_policy
    specific = policy.WhichOneof("policy_choice") == "specific"
    versions = tuple(policy.specific.versions) if specific else ()
    if specific and not versions:
        raise invalid(f"the version policy of {name!r} is specific and names no version")
    if len(config.version_labels) > MOST_LABELS:
        raise invalid(f"{name!r} has more than {MOST_LABELS} version_labels")
    labels = {
        check_name(label, "label"): int(number) for label, number in config.version_labels.items()
    }
    for number in (*versions, *labels.values()):
        if number < 1:
            raise invalid(f"{number} is no version of {name!r}; versions count from 1")
    return WantedModel(name, max(versions, default=0), versions, labels)


def encode_reload() -> Any:
    """A `tensorflow.serving.ReloadConfigResponse` that says OK."""
    response = message("tensorflow.serving.ReloadConfigResponse")()
    response.status.SetInParent()
    return response
