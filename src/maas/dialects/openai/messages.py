"""A chat's messages, as a model's template reads them.

Contents become strings (their parts of text joined), the arguments of tool calls objects, and the
role `developer` is `system`, which is what templates know.
"""

from __future__ import annotations

from typing import Any

import orjson

from maas.dialects.openai.errors import ParameterError
from maas.dialects.openai.fields import Fields, shown, to_json

MAX_MESSAGES = 4096
MAX_PARTS = 1024
MAX_CALLS = 128
MAX_NAME = 256
ROLES = ("system", "developer", "user", "assistant", "tool")
_NOT_TEXT = {
    "image_url": "images",
    "input_audio": "audio",
    "file": "files",
    "video_url": "videos",
}


def read_messages(fields: Fields) -> bytes:
    """Reads `messages`.

    Returns:
        A JSON list of objects with `role`, `content` and what else templates read.

    Raises:
        MaasError: INVALID_ARGUMENT naming the member.
    """
    messages = fields.list("messages", MAX_MESSAGES)
    if not messages:
        what = "is missing" if messages is None else "is empty"
        raise ParameterError("messages", f"messages {what}; expected a list of messages")
    found = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise ParameterError(
                path, f"{path} is {shown(message)}; expected an object with role and content"
            )
        found.append(_read_message(Fields(message, path)))
    return to_json(found, "messages")


def _read_message(fields: Fields) -> dict[str, Any]:
    role = fields.get("role")
    if role == "function":
        raise ParameterError(
            fields.path("role"), "the role function has been replaced; send tool with tool_call_id"
        )
    if not isinstance(role, str) or role not in ROLES:
        raise fields.refused("role", "one of " + ", ".join(ROLES))
    found: dict[str, Any] = {"role": "system" if role == "developer" else role}
    content = _read_content(fields)
    if role == "assistant":
        content = content or fields.text("refusal", 1 << 26) or content
        calls = _read_calls(fields)
        if calls:
            found["tool_calls"] = calls
        thought = fields.text("reasoning_content", 1 << 26)
        if thought is not None:
            found["reasoning_content"] = thought
    elif content is None:
        raise fields.refused("content", "a string or a list of parts of text")
    found["content"] = content or ""
    if role == "tool":
        call = fields.text("tool_call_id", MAX_NAME)
        if call is None:
            raise fields.refused("tool_call_id", "the id of the call that this answers")
        found["tool_call_id"] = call
    name = fields.text("name", MAX_NAME)
    if name is not None:
        found["name"] = name
    return found


def _read_content(fields: Fields) -> str | None:
    """A content as one text, its parts joined."""
    content = fields.get("content")
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise fields.refused("content", "a string or a list of parts of text")
    parts = fields.list("content", MAX_PARTS) or []
    return "".join(
        [_read_part(part, fields.path(f"content[{index}]")) for index, part in enumerate(parts)]
    )


def _read_part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise ParameterError(
            path, f"{path} is {shown(part)}; expected an object with type and text"
        )
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        if not isinstance(text, str):
            raise ParameterError(
                f"{path}.{kind}", f"{path}.{kind} is {shown(text)}; expected a string"
            )
        return text
    if isinstance(kind, str) and kind in _NOT_TEXT:
        raise ParameterError(
            f"{path}.type",
            f"{path} is of type {kind}; no model here takes {_NOT_TEXT[kind]}, send text",
        )
    raise ParameterError(f"{path}.type", f"{path}.type is {shown(kind)}; expected text")


def _read_calls(fields: Fields) -> list[dict[str, Any]]:
    """An assistant's calls of tools, their arguments as objects."""
    if fields.get("function_call") is not None:
        param = fields.path("function_call")
        raise ParameterError(param, f"{param} has been replaced; send tool_calls")
    found = []
    for index, call in enumerate(fields.list("tool_calls", MAX_CALLS) or ()):
        path = fields.path(f"tool_calls[{index}]")
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise ParameterError(
                path, f"{path} is {shown(call)}; expected an object with id, type and function"
            )
        of = Fields(function, f"{path}.function")
        name = of.text("name", MAX_NAME)
        if not name:
            raise of.refused("name", "the name of a function")
        read = {
            "type": "function",
            "function": {"name": name, "arguments": _read_arguments(of)},
        }
        of_call = Fields(call, path)
        identity = of_call.text("id", MAX_NAME)
        found.append(read if identity is None else {"id": identity, **read})
    return found


def _read_arguments(fields: Fields) -> dict[str, Any] | str:
    """The arguments of a call that was made; a text that is no object stays as it is.

    Models write such, and are told what is wrong with it in the message that follows.
    """
    text = fields.get("arguments")
    if text is None or text == "":
        return {}
    if isinstance(text, dict):
        return text
    if not isinstance(text, str):
        raise fields.refused("arguments", "a string that holds a JSON object")
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return read if isinstance(read, dict) else text
