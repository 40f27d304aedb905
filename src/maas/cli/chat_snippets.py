"""Code that talks to a published language model, over OpenAI's protocol."""

from __future__ import annotations

import json
import shlex
from typing import Any

from maas.core.generation import Feature, GenerativeSpec
from maas.core.identity import ModelRef

QUESTION = "Hello"


def chat_snippet(language: str, url: str, ref: ModelRef, spec: GenerativeSpec, locked: bool) -> str:
    """Writes a call: of a chat, or a text to be continued where the model has no chat template.

    Args:
        language: curl, python or openai.
        url: the server's.
        ref: what to call, as the user named it.
        spec: what the model can do.
        locked: whether predictions want a key; then the snippet takes it from MAAS_API_KEY.
    """
    if language == "openai":
        return _openai(url, ref, spec, locked)
    path, body = _request(ref, spec)
    call = f"{url}/v1{path}"
    if language == "curl":
        key = ' -H "Authorization: Bearer $MAAS_API_KEY"' if locked else ""
        text = json.dumps(body, ensure_ascii=False)
        return (
            f"curl -s {shlex.quote(call)}{key} -H 'Content-Type: application/json' "
            f"-d {shlex.quote(text)}"
        )
    lines = ["import os", ""] if locked else []
    lines += ["import requests", "", f"body = {body!r}"]
    if locked:
        lines.append('headers = {"Authorization": "Bearer " + os.environ["MAAS_API_KEY"]}')
    answer = '["message"]["content"]' if _chats(spec) else '["text"]'
    lines += [
        f"response = requests.post({call!r}, json=body{', headers=headers' if locked else ''}, "
        "timeout=600)",
        "response.raise_for_status()",
        f'print(response.json()["choices"][0]{answer})',
    ]
    return "\n".join(lines)


def _openai(url: str, ref: ModelRef, spec: GenerativeSpec, locked: bool) -> str:
    key = 'os.environ["MAAS_API_KEY"]' if locked else '"none"'
    _, body = _request(ref, spec)
    create, piece = (
        ("chat.completions", "choice.delta.content")
        if _chats(spec)
        else ("completions", "choice.text")
    )
    return "\n".join(
        [
            "# pip install openai",
            *(["import os", ""] if locked else []),
            "from openai import OpenAI",
            "",
            f"client = OpenAI(base_url={url + '/v1'!r}, api_key={key})",
            f"stream = client.{create}.create(",
            *(f"    {name}={value!r}," for name, value in body.items()),
            "    stream=True,",
            ")",
            "for chunk in stream:",
            "    for choice in chunk.choices:",
            f'        print({piece} or "", end="", flush=True)',
            "print()",
        ]
    )


def _request(ref: ModelRef, spec: GenerativeSpec) -> tuple[str, dict[str, Any]]:
    if _chats(spec):
        messages = [{"role": "user", "content": QUESTION}]
        return "/chat/completions", {"model": str(ref), "messages": messages}
    return "/completions", {"model": str(ref), "prompt": QUESTION, "max_tokens": 64}


def _chats(spec: GenerativeSpec) -> bool:
    return Feature.CHAT not in spec.lacks
