"""Calls of tools: what a request says about them, and finding them in what a model writes.

```
tools, tool_choice ─▶ request.read_tools ─▶ what the template reads; what calls are held to
text, in pieces ─▶ markup (as the model was taught) or forced (JSON) ─▶ events
```
"""

from maas.dialects.openai.tools.events import (
    CallArguments,
    CallStart,
    Content,
    Event,
    ToolParser,
)
from maas.dialects.openai.tools.request import FORMATS, ToolSpec, ToolUse, parser_for, read_tools

__all__ = [
    "FORMATS",
    "CallArguments",
    "CallStart",
    "Content",
    "Event",
    "ToolParser",
    "ToolSpec",
    "ToolUse",
    "parser_for",
    "read_tools",
]
