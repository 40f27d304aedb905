"""`maas chat`: a conversation with a language model, in the terminal or through a pipe."""

from __future__ import annotations

import io
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli import options
from maas.cli.output import ExitCode, note, print_error, print_json, say, say_piece
from maas.core.errors import ErrorKind, MaasError, invalid

if TYPE_CHECKING:
    from maas.client import ChatStream, Client
    from maas.client.chat import ChatOptions

PROMPT = ">>> "
GOES_ON = "... "
QUOTES = '"""'
HELP = """\
/clear          forget the conversation
/system TEXT    set the system message; /system alone takes it away
/help           show this
/exit           end; so do Ctrl-D and Ctrl-C twice
\"\"\"             begin and end a text of several lines
Ctrl-C          stop an answer"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("chat", epilog="Example: maas chat assistant")(chat)


def chat(
    ref: Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="Or NAME@ALIAS.")],
    question: Annotated[
        str | None,
        typer.Argument(metavar="QUESTION", help="Ask this and end; else a conversation."),
    ] = None,
    system: Annotated[
        str | None, typer.Option("-s", "--system", help="A message to the model, before all else.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 takes the likeliest token.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Tokens of an answer, at most.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="The same seed gives the same answer.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say tokens and speed after each answer.")
    ] = False,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> int:
    """Talk with a language model.

    A question as an argument or in a pipe gets one answer; without one it is a conversation.
    """
    interactive = question is None and sys.stdin.isatty()
    if question is None and not interactive:
        question = _standard_input()
    elif question is not None and not question.strip():
        raise invalid("the question is empty; give one, as in: maas chat NAME 'Hello'")
    if json and interactive:
        raise invalid("--json prints one answer; give the question as well, or pipe it in")
    sampling: ChatOptions = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    with options.connect(url, key) as client:
        talk = Conversation(client, ref, system, sampling)
        if interactive:
            Terminal(talk, verbose).run()
            return ExitCode.OK
        assert question is not None
        if json:
            print_json(client.chat(ref, talk.with_question(question), **sampling))
            return ExitCode.OK
        return ExitCode.OK if answer(talk, question, verbose) else ExitCode.INTERRUPTED


class Conversation:
    """What has been said, and with whom.

    Args:
        client: the server's.
        ref: the model, as the user named it.
        system: the system message, if any.
        sampling: how answers are to be written.
    """

    def __init__(self, client: Client, ref: str, system: str | None, sampling: ChatOptions):
        self.ref = ref
        self.system = system
        self._client = client
        self._sampling = sampling
        self._turns: list[tuple[str, str]] = []

    def with_question(self, question: str) -> list[dict[str, str]]:
        """The messages of a request."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for asked, said in self._turns:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": said})
        return [*messages, {"role": "user", "content": question}]

    def ask(self, question: str) -> Answer:
        """Has a question answered.

        What is oldest is left out where the conversation has outgrown the model's context.

        Raises:
            MaasError: the server refused, or is not there.
        """
        forgotten = 0
        while True:
            messages = self.with_question(question)
            try:
                stream = self._client.chat(self.ref, messages, stream=True, **self._sampling)
            except MaasError as error:
                if error.kind is not ErrorKind.CONTEXT_EXCEEDED or not self._turns:
                    raise
                self._turns.pop(0)
                forgotten += 1
            else:
                if forgotten:
                    note("(too long for the model: what was said first is left out)")
                return Answer(stream)

    def keep(self, question: str, said: str) -> None:
        """Remembers an answer, be it whole or not."""
        self._turns.append((question, said))

    def clear(self) -> None:
        """Forgets what was said; the system message stays."""
        self._turns.clear()


class Answer:
    """An answer that is being written, and its times.

    Args:
        stream: of its pieces.
    """

    def __init__(self, stream: ChatStream):
        self.stream = stream
        self._began = time.perf_counter()
        self._first: float | None = None

    def print(self) -> bool:
        """Prints it to its end, or until Ctrl-C; says whether it came to its end."""
        last = "\n"
        try:
            with self.stream:
                for piece in self.stream:
                    if self._first is None:
                        self._first = time.perf_counter()
                    say_piece(piece)
                    last = piece
        except KeyboardInterrupt:
            say_piece("\n")
            return False
        except BaseException:
            say_piece("" if last.endswith("\n") else "\n")
            raise
        if not last.endswith("\n"):
            say_piece("\n")
        return True

    def figures(self) -> str:
        """Tokens and speed."""
        usage, now = self.stream.reply.usage, time.perf_counter()
        first = now if self._first is None else self._first
        parts = [
            f"{usage.prompt_tokens} tokens read ({usage.cached_tokens} known)",
            f"{usage.completion_tokens} written",
        ]
        if usage.completion_tokens > 1 and now > first:
            parts.append(f"{(usage.completion_tokens - 1) / (now - first):.0f} a second")
        return f"{', '.join(parts)}, the first after {first - self._began:.2f} s"


def answer(talk: Conversation, question: str, verbose: bool) -> bool:
    """Asks, prints and remembers; False where Ctrl-C stopped it."""
    try:
        found = talk.ask(question)
    except KeyboardInterrupt:  # before the answer began
        say()
        return False
    whole = found.print()
    reply = found.stream.reply
    talk.keep(question, reply.text)
    for call in reply.tool_calls:
        note(f"(wants to call {call.name} with {call.arguments})")
    if reply.finish_reason == "length":
        note("(cut off: no more tokens were allowed)")
    if verbose and whole:
        note(found.figures())
    return whole


class Terminal:
    """Reads questions and commands until it is told to end.

    Args:
        talk: the conversation.
        verbose: whether to say figures after each answer.
    """

    def __init__(self, talk: Conversation, verbose: bool):
        self._talk = talk
        self._verbose = verbose

    def run(self) -> None:
        """Converses. Errors are printed, and the conversation goes on."""
        _prepare_input()
        say(f"talking with {self._talk.ref}; /help shows what can be typed, /exit ends")
        interrupted = False
        while True:
            try:
                line = self._read()
            except EOFError:
                say()
                return
            except KeyboardInterrupt:
                say()
                if interrupted:
                    return
                interrupted = True
                note("(Ctrl-C once more, Ctrl-D or /exit ends)")
                continue
            interrupted = False
            if line.strip() in ("/exit", "/quit", "/bye"):
                return
            if line.strip():
                self._take(line)

    def _take(self, line: str) -> None:
        command, _, rest = line.strip().partition(" ")
        if command == "/help":
            for each in HELP.splitlines():
                say(each)
        elif command == "/clear":
            self._talk.clear()
            note("(forgotten)")
        elif command == "/system":
            self._talk.system = rest.strip() or None
            note("(the system message is set)" if rest.strip() else "(no system message)")
        elif command.startswith("/") and "\n" not in line and command[1:].isalpha():
            note(f"there is no command {command}; /help shows those there are")
        else:
            try:
                if not answer(self._talk, line, self._verbose):
                    note("(stopped)")
            except MaasError as error:
                print_error(error.message)
            except KeyboardInterrupt:  # where nothing of an answer is being read
                note("(stopped)")

    def _read(self) -> str:
        """One line, or several between triple quotes."""
        line = input(PROMPT)
        if not line.lstrip().startswith(QUOTES):
            return line
        text = line.lstrip().removeprefix(QUOTES)
        while not text.rstrip().endswith(QUOTES):
            text += "\n" + input(GOES_ON)
        return text.rstrip().removesuffix(QUOTES).strip("\n")


def _prepare_input() -> None:
    """Line editing and a history in memory, where Python has them; bytes that are no text pass."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(True)
    for each in ("input-meta on", "output-meta on", "convert-meta off"):
        readline.parse_and_bind(f"set {each}")  # in the locale C it takes UTF-8 for the Meta key


def _standard_input() -> str:
    """The question in a pipe.

    Raises:
        MaasError: INVALID_ARGUMENT where there is none, or it is not UTF-8.
    """
    try:
        question = sys.stdin.buffer.read().decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise invalid(f"standard input is not UTF-8 at byte {error.start}") from None
    if not question:
        raise invalid("standard input is empty; give a question, as in: maas chat NAME 'Hello'")
    return question
