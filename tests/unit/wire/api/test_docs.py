from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest

from maas.wire.api.docs import POLICY, STYLE, render_page

Clients = dict[str, httpx.AsyncClient]
ROUTES = {
    ("/api", "get"),
    ("/api/models", "get"),
    ("/api/models/{name}", "get"),
    ("/api/models/{name}", "delete"),
    ("/api/models/{name}/versions", "get"),
    ("/api/models/{name}/versions", "post"),
    ("/api/models/{name}/versions/{number}", "get"),
    ("/api/models/{name}/versions/{number}", "patch"),
    ("/api/models/{name}/versions/{number}", "delete"),
    ("/api/models/{name}/aliases/{alias}", "put"),
    ("/api/models/{name}/aliases/{alias}", "delete"),
    ("/api/models/{name}/rollback", "post"),
    ("/api/models/{name}/logs", "get"),
    ("/api/deployments/{name}", "put"),
    ("/api/operations/{operation}", "get"),
    ("/api/operations/{operation}/events", "get"),
    ("/api/processes", "get"),
    ("/api/imports", "get"),
    ("/api/logs", "get"),
    ("/api/keys", "get"),
    ("/api/keys", "post"),
    ("/api/keys/{key_id}", "delete"),
}


class Tags(HTMLParser):
    """Collects what a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(name)


def tags(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    return parser


async def test_the_schema_has_every_route_and_no_other(clients: Clients) -> None:
    answer = await clients[""].get("/docs/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    schema = answer.json()
    assert {(path, method) for path, item in schema["paths"].items() for method in item} == ROUTES
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)
            for status in ("400", "401", "403"):
                content = operation["responses"][status]["content"]["application/json"]
                assert content["schema"]["$ref"] == "#/components/schemas/ErrorAnswer"
    assert schema["security"] == [{"key": []}]
    upload = schema["paths"]["/api/models/{name}/versions"]["post"]["requestBody"]
    assert set(upload["content"]) == {"application/octet-stream", "application/x-tar"}


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_the_page_needs_nothing_from_anywhere(clients: Clients, path: str) -> None:
    answer = await clients[""].get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    found = tags(answer.text)
    assert not found.names & {"script", "link", "img", "iframe", "base", "form", "object"}
    assert not found.handlers
    assert all(re.fullmatch(r"#\w+|/docs/openapi\.json", link) for link in found.links)
    assert f"<style>{STYLE}</style>" in answer.text
    for route, _ in ROUTES:
        assert f"<code>{route}</code>" in answer.text


def test_texts_of_the_schema_are_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    schema = {
        "info": {"title": evil, "version": evil, "description": evil},
        "paths": {
            evil: {
                "get": {
                    "tags": [evil],
                    "summary": evil,
                    "description": evil,
                    "parameters": [
                        {
                            "name": evil,
                            "in": evil,
                            "description": evil,
                            "schema": {"type": [evil], "items": {"$ref": evil}},
                        }
                    ],
                    "requestBody": {
                        "description": evil,
                        "content": {evil: {"schema": {"oneOf": [{"type": evil}]}}},
                    },
                    "responses": {evil: {"description": evil, "content": {}}},
                }
            }
        },
        "components": {
            "schemas": {
                evil: {"description": evil, "enum": [evil], "properties": {evil: {"type": evil}}}
            }
        },
    }
    page = render_page(schema)
    found = tags(page)
    assert "script" not in found.names
    assert "<script" not in page
    assert not found.handlers
