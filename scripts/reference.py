"""The pages of `docs/reference/`, made from the code they describe.

```
maas.settings ─▶ settings.md
the commands' own help ─▶ cli.md
ErrorKind, HTTP_STATUS and each dialect's error body ─▶ errors.md
```
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import typer

from maas import settings
from maas.cli.app import build
from maas.cli.output import ExitCode, exit_code
from maas.client.errors import ApiError
from maas.core import errors
from maas.core.errors import ErrorKind, MaasError
from maas.wire.mlflow import handlers as mlflow
from maas.wire.oip import handlers as oip
from maas.wire.plain import handlers as plain
from maas.wire.status import HTTP_STATUS
from maas.wire.tfserving import handlers as tfserving
from maas.wire.torchserve import handlers as torchserve

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MADE = "<!-- Made by scripts/docs from {source}; do not edit. -->"
HELP_WIDTH = 96


def main(arguments: list[str]) -> int:
    """Writes the pages, or with `--check` says which are not as the code has them."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: scripts/docs [--check]\n")
        return 2
    stale = [name for name, text in pages().items() if not is_current(name, text)]
    for name in stale:
        if check:
            sys.stderr.write(f"docs/reference/{name} is not what the code says: run scripts/docs\n")
        else:
            FOLDER.mkdir(parents=True, exist_ok=True)
            (FOLDER / name).write_text(pages()[name], encoding="utf-8")
            sys.stdout.write(f"wrote docs/reference/{name}\n")
    return 1 if check and stale else 0


def is_current(name: str, text: str) -> bool:
    """Whether a page is on the disk as it should be."""
    path = FOLDER / name
    return path.exists() and path.read_text(encoding="utf-8") == text


def pages() -> dict[str, str]:
    """Every page by its file name."""
    makers = {"settings.md": settings_page, "cli.md": cli_page, "errors.md": errors_page}
    return {name: "\n".join(make()) + "\n" for name, make in makers.items()}


# Settings


def settings_page() -> Iterator[str]:
    """One table for each section."""
    yield MADE.format(source="src/maas/settings.py")
    yield "# Settings"
    yield ""
    yield (
        "A setting comes from the command line, else from its environment variable, else from "
        "the file given with `maas serve --config FILE`, else it is the default here. In the "
        "file, which is TOML, a section is a table. An unknown section or field, or a value of "
        "the wrong type, keeps the server from starting."
    )
    described = class_docs(settings)
    tree = settings.Settings()
    for section in tree.__struct_fields__:
        slice_ = getattr(tree, section)
        name = type(slice_).__name__
        yield ""
        yield f"## [{section}]"
        yield ""
        yield described[name][""]
        yield ""
        yield "| field | type | default | what it is | variable |"
        yield "|---|---|---|---|---|"
        for field in msgspec.structs.fields(type(slice_)):
            what = described[name].get(field.name) or described[name][""]
            variables = ", ".join(f"`{one}`" for one in variables_of(section, field.name))
            default = default_text(getattr(slice_, field.name))
            yield (
                f"| `{field.name}` | {type_text(field.type)} | {default} | {cell(what)} "
                f"| {variables} |"
            )
    yield ""
    yield (
        "`server.listen` has no variable: give it in the file, as a list, or with `--listen`, as "
        "often as wanted."
    )


def variables_of(section: str, field: str) -> list[str]:
    """The environment variables of a setting: the one that every text and number has, and more."""
    if (section, field) == ("server", "listen"):
        return []  # a variable holds no list
    full = f"MAAS_{section}_{field}".upper()
    short = [name for name, target in settings.SHORT.items() if target == (section, field)]
    return [full, *short]


def type_text(kind: Any) -> str:
    """A field's type as people say it."""
    if hasattr(kind, "__args__") and not str(kind).startswith("tuple"):
        return " or ".join(f"`{choice}`" for choice in kind.__args__)
    names = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    return names.get(kind, "list of text")


def default_text(value: Any) -> str:
    """A default as it would stand in the file."""
    if value == "" or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:_}`" if isinstance(value, int) and value > 99_999 else f"`{value}`"


# Command line


def cli_page() -> Iterator[str]:
    """The help of each command, as it prints it."""
    yield MADE.format(source="the commands' own --help")
    yield "# Command line"
    yield ""
    yield "`python -m maas` is the same program as `maas`. `--version` prints the version."
    yield ""
    yield "| exit code | meaning |"
    yield "|---|---|"
    meanings = {
        ExitCode.OK: "it was done",
        ExitCode.FAILURE: "the server refused, or something failed",
        ExitCode.USAGE: "the command line, or a setting, is wrong",
        ExitCode.UNREACHABLE: "no server answers",
        ExitCode.KEY: "a key is needed, or the key may not do this",
        ExitCode.INTERRUPTED: "Ctrl-C",
    }
    for code in ExitCode:
        yield f"| {code.value} | {meanings[code]} |"
    yield ""
    yield (
        "Results go to stdout; progress, notes, warnings and errors to stderr. `MAAS_URL` and "
        "`MAAS_API_KEY` say which server and with which key where `--url` and `--key` do not; on "
        "the server's own machine the owner's key is read from the data folder (`MAAS_HOME`)."
    )
    program = typer.main.get_command(build())
    for name, command in walk("maas", program):
        yield ""
        yield f"## {name}"
        yield ""
        yield "```text"
        context = command.context_class(
            command, info_name=name, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH
        )
        yield from (line.rstrip() for line in command.get_help(context).splitlines())
        yield "```"


def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The commands below a command, groups before their own."""
    for sub, inner in getattr(command, "commands", {}).items():
        yield f"{name} {sub}", inner
        yield from walk(f"{name} {sub}", inner)


# Errors


def errors_page() -> Iterator[str]:
    """Kinds, statuses, and an error in each dialect's shape."""
    yield MADE.format(source="src/maas/core/errors.py and src/maas/wire/status.py")
    yield "# Errors"
    yield ""
    yield (
        "Every error has a kind and one message: what was wrong, what was expected, what to do. "
        "The kind decides the HTTP status, whatever the protocol, and the exit code of `maas`."
    )
    yield ""
    yield "| kind | HTTP status | what it means | exit code |"
    yield "|---|---|---|---|"
    described = class_docs(errors)["ErrorKind"]
    for kind in ErrorKind:
        code = exit_code(ApiError(kind, "", status=HTTP_STATUS[kind]))
        yield (
            f"| `{kind.value}` | {HTTP_STATUS[kind]} | {cell(described[kind.name])} "
            f"| {code.value} |"
        )
    yield ""
    yield (
        "429 and 503 come with `Retry-After` where waiting helps. 401 comes with "
        "`WWW-Authenticate: Bearer`. Every answer has `x-request-id`: the caller's own, where it "
        "sent one of at most 128 printable ASCII characters, else one made here. A failure of the "
        "server itself is logged with it."
    )
    yield ""
    yield "## The body, by protocol"
    error = MaasError(ErrorKind.NOT_FOUND, "there is no model 'iriss'; published are iris")
    shapes = {
        "Plain calls, and the control API": plain,
        "Open Inference Protocol": oip,
        "TensorFlow Serving, KServe V1": tfserving,
        "MLflow, SageMaker": mlflow,
        "TorchServe": torchserve,
    }
    for title, dialect in shapes.items():
        yield ""
        yield f"{title}:"
        yield ""
        yield "```json"
        yield dialect.error_body(error, "a1b2c3").decode()
        yield "```"
    yield ""
    yield (
        "In Python, `maas.client.ApiError` has `kind`, `message`, `status`, `request_id` and "
        "`retry_after_s`; `maas.client.ServerUnreachable` says that no answer came."
    )


# Docstrings


def class_docs(module: ModuleType) -> dict[str, dict[str, str]]:
    """Docstrings of a module's classes: the class's own under '', its attributes' by name."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        docs = found[node.name] = {"": one_line(ast.get_docstring(node) or "")}
        for attribute, text in zip(node.body, node.body[1:], strict=False):
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                name = attribute_name(attribute)
                if name:
                    docs[name] = one_line(str(text.value.value))
    return found


def attribute_name(node: ast.stmt) -> str:
    """The name that an assignment makes; '' for anything else."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def one_line(text: str) -> str:
    """A docstring on one line."""
    return " ".join(text.split())


def cell(text: str) -> str:
    """Text that may stand in a table's cell."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
