"""The program: its commands, and what becomes of an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from maas.cli import bench, chat, doctor, keys, models, predict, processes, publish, serve, show
from maas.cli.output import ExitCode, exit_code, make_streams_safe, print_error, silence_stdout
from maas.core.errors import ErrorKind, MaasError
from maas.settings import SettingsError


def build() -> typer.Typer:
    """Puts the commands together."""
    app = typer.Typer(
        name="maas",
        help="Model-as-a-Service: publish a model file, call it over the network.",
        epilog="Example: maas serve iris.onnx, then maas predict iris -i '[[5.1,3.5,1.4,0.2]]'",
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback(invoke_without_command=True)(_program)
    for module in (serve, publish, models, show, predict, chat, bench, processes, doctor):
        module.register(app)
    keys.register(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; no exception leaves it."""
    make_streams_safe()
    try:
        result = build()(args=list(arguments) or ["--help"], standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except typer.TyperException as error:
        print_error(error.format_message(), _usage_hint(error))
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except MaasError as error:
        code = exit_code(error)
        print_error(error.message, _hint(error, code))
        return code
    except SettingsError as error:
        print_error(str(error))
        return ExitCode.USAGE
    except BrokenPipeError:
        silence_stdout()
        return ExitCode.FAILURE
    except OSError as error:
        print_error(f"{error.filename or 'output'}: {error.strerror or error}")
        return ExitCode.FAILURE


def _program(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        from maas import __version__

        typer.echo(f"maas {__version__}")
        raise typer.Exit


def _hint(error: MaasError, code: ExitCode) -> str:
    if code is ExitCode.KEY:
        return (
            "give a key that may do this: --key or MAAS_API_KEY; on the server's own machine "
            "MAAS_HOME says where its data folder is, if it was started with --home"
        )
    request_id = getattr(error, "request_id", "")
    return f"request id: {request_id}" if request_id and error.kind is ErrorKind.INTERNAL else ""


def _usage_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"see: {context.command_path} --help" if context is not None else ""
