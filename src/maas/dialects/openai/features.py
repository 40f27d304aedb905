"""What an engine cannot do: refused by name, or left out where the model is published so."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from maas.core.generation import ChatPrompt, Feature, GenerateRequest, features_of
from maas.core.messages import ModelView
from maas.dialects.openai.errors import ParameterError


def fit(
    request: GenerateRequest, view: ModelView, names: Mapping[Feature, str]
) -> tuple[GenerateRequest, tuple[str, ...]]:
    """Leaves out of a request what its model cannot do.

    Args:
        request: what is asked.
        view: the language model.
        names: the parameter that asks for each feature.

    Returns:
        What can be done, and the parameters that were left out.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter, where nothing is to be left out, or the
            model has no chat template.
    """
    about = view.generative
    assert about is not None
    lacked = [feature for feature in features_of(request) if feature in about.lacks]
    if not lacked:
        return request, ()
    for feature in lacked:
        if feature is Feature.CHAT:
            raise ParameterError(
                names[feature],
                f"{view.servable} has no chat template that can be used; call /v1/completions "
                "with a prompt",
            )
        if not about.drop_params:
            raise ParameterError(names[feature], _refusal(feature, names[feature], view))
        request = _without(request, feature)
    return request, tuple(sorted({names[feature] for feature in lacked}))


def _refusal(feature: Feature, param: str, view: ModelView) -> str:
    cure = "leave it out, or publish the model with --drop-params"
    if feature is Feature.TOOLS:
        return f"the chat template of {view.servable} takes no tools, so {param} cannot be; {cure}"
    return f"{view.platform}, the engine of {view.servable}, has no {_SHOWN[feature]}; {cure}"


_SHOWN = {
    Feature.LOGPROBS: "logprobs",
    Feature.TOP_LOGPROBS: "logprobs of tokens besides the chosen one (top_logprobs)",
    Feature.PROMPT_LOGPROBS: "logprobs of the prompt (echo with logprobs)",
    Feature.LOGIT_BIAS: "logit_bias",
    Feature.MIN_P: "min_p",
    Feature.JSON: "answers that must be JSON",
    Feature.JSON_SCHEMA: "answers that must be of a JSON schema",
}


def _without(request: GenerateRequest, feature: Feature) -> GenerateRequest:
    sampling = request.sampling
    match feature:
        case Feature.LOGPROBS | Feature.PROMPT_LOGPROBS:
            sampling = replace(sampling, logprobs=None)
        case Feature.TOP_LOGPROBS if sampling.logprobs is not None:
            sampling = replace(sampling, logprobs=0)
        case Feature.LOGIT_BIAS:
            sampling = replace(sampling, logit_bias=None)
        case Feature.MIN_P:
            sampling = replace(sampling, min_p=0.0)
        case Feature.JSON | Feature.JSON_SCHEMA:
            return replace(request, grammar=None)
        case Feature.TOOLS:
            assert isinstance(request.prompt, ChatPrompt)
            return replace(request, prompt=replace(request.prompt, tools=b""))
    return replace(request, sampling=sampling)
