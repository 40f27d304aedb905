"""JSON schemas of answers and of functions' parameters, vetted.

```
response_format, forced tools ─▶ build.check_schema ─▶ a schema that every engine keeps
tools                         ─▶ bounds.check_bounds ─▶ a schema for the model to read
```
"""

from maas.dialects.openai.schema.bounds import check_bounds
from maas.dialects.openai.schema.build import check_schema

__all__ = ["check_bounds", "check_schema"]
