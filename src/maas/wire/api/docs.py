"""`/docs`: the control API's OpenAPI as one page of plain HTML, without a script.

The usual pages load their scripts from somewhere else; this one works without a network and
under a policy that lets nothing but its own style sheet in. `/docs/openapi.json` has the schema
for the tools that want it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from litestar import Request, Response, Router
from litestar.enums import MediaType
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

import maas
from maas.core.errors import not_found

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
details { border: 1px solid #8886; border-radius: .4rem; margin: .4rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border-bottom: 1px solid #8884; padding: .2rem .8rem .2rem 0; text-align: left;
  vertical-align: top; }
.method { display: inline-block; font-weight: bold; min-width: 4.5rem; }
""".strip()

POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its own style sheet by its hash, and nothing else."""

DESCRIPTION = (
    "Publish, see and manage models. Every route wants a key: Authorization: Bearer KEY, "
    "x-api-key: KEY or api-key: KEY."
)
_METHODS = ("get", "put", "post", "patch", "delete")
_Json = Mapping[str, Any]


def docs_config() -> OpenAPIConfig:
    """Describes the API, and serves the description at `/docs` and `/docs/openapi.json`."""
    return OpenAPIConfig(
        title="MaaS control API",
        version=maas.__version__,
        description=DESCRIPTION,
        openapi_router=Router(
            "/docs",
            route_handlers=[],
            response_headers={"content-security-policy": POLICY},
            after_request=_refuse_missing,
            include_in_schema=False,
        ),
        render_plugins=[PlainPage(), JsonRenderPlugin(media_type=MediaType.JSON)],
        components=Components(
            security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"key": []}],
    )


def _refuse_missing(response: Response[Any]) -> Response[Any]:
    """Turns the framework's own page for what is not there into an error like any other.

    Raises:
        MaasError: NOT_FOUND.
    """
    if response.status_code == 404:
        raise not_found("there is no such page; see /docs")
    return response


class PlainPage(OpenAPIRenderPlugin):
    """Renders the schema as a page that needs nothing from anywhere."""

    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Writes the page."""
        return render_page(openapi_schema).encode()


def render_page(schema: _Json) -> str:
    """Writes an OpenAPI document as HTML; every text of it is escaped."""
    title = escape(schema["info"]["title"])
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{STYLE}</style></head><body>",
        f"<h1>{title} <small>{escape(schema['info']['version'])}</small></h1>",
        f"<p>{escape(schema['info'].get('description') or '')}</p>",
        '<p><a href="/docs/openapi.json">openapi.json</a></p>',
    ]
    groups: dict[str, list[str]] = {}
    for path, item in schema["paths"].items():
        for method in _METHODS:
            if method in item:
                tag = (item[method].get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append("".join(_operation(path, method, item[method])))
    for tag, operations in groups.items():
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts.extend(operations)
    parts.append("<h2>schemas</h2>")
    for name, component in sorted(schema.get("components", {}).get("schemas", {}).items()):
        parts.append(_component(name, component))
    parts.append("</body></html>")
    return "\n".join(parts)


def _operation(path: str, method: str, operation: _Json) -> Iterator[str]:
    summary = escape(operation.get("summary") or "")
    yield f'<details><summary><span class="method">{method.upper()}</span> '
    yield f"<code>{escape(path)}</code> {summary}</summary>"
    yield f"<p>{escape(operation.get('description') or '')}</p>"
    parameters = operation.get("parameters") or []
    if parameters:
        yield "<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>"
        for parameter in parameters:
            required = " (required)" if parameter.get("required") else ""
            yield (
                f"<tr><td><code>{escape(parameter['name'])}</code></td>"
                f"<td>{escape(parameter['in'])}</td>"
                f"<td>{_type(parameter.get('schema') or {})}{required}</td>"
                f"<td>{escape(parameter.get('description') or '')}</td></tr>"
            )
        yield "</table>"
    body = operation.get("requestBody")
    if body:
        yield f"<p>body: {_content(body)} {escape(body.get('description') or '')}</p>"
    yield "<table><tr><th>answer</th><th></th><th></th></tr>"
    for status, response in sorted((operation.get("responses") or {}).items()):
        yield (
            f"<tr><td>{escape(str(status))}</td><td>{_content(response)}</td>"
            f"<td>{escape(response.get('description') or '')}</td></tr>"
        )
    yield "</table></details>"


def _component(name: str, component: _Json) -> str:
    rows = [
        f"<tr><td><code>{escape(field)}</code></td><td>{_type(value)}</td></tr>"
        for field, value in (component.get("properties") or {}).items()
    ]
    values = ", ".join(escape(str(value)) for value in component.get("enum") or ())
    return (
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<p>{escape(component.get('description') or '')} {values}</p>"
        f"<table>{''.join(rows)}</table></details>"
    )


def _content(holder: _Json) -> str:
    return ", ".join(
        f"{escape(media)} {_type(content.get('schema') or {})}"
        for media, content in (holder.get("content") or {}).items()
    )


def _type(schema: _Json) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return " or ".join(_type(part) for part in schema[key])
    kind = schema.get("type", "any")
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "items" in schema:
        return f"{escape(text)} of {_type(schema['items'])}"
    return escape(text)
