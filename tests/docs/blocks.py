"""The blocks of a Markdown page that are to be run, and a shell script that runs them in order.

A comment on the line above a fenced block says what becomes of it:

    <!-- test -->          its commands are run; the last one must succeed
    <!-- test fails -->    its commands are run; the last one must fail
    <!-- file NAME -->     it is written to that file first
    <!-- output -->        it is what the block before it printed

A ```console block has commands behind `$ ` and what they print below them; a ```bash block is run
as it is; a ```python block is a program. `…` in an output stands for anything. A page's
`<!-- server FLAGS -->` gives the server that it talks to further flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

FENCE = re.compile(
    r"^<!-- (?P<mark>test|test fails|output|file \S+) -->\n"
    r"```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SERVER = re.compile(r"^<!-- server (?P<flags>.+) -->$", re.MULTILINE)
PROGRESS = re.compile(r"^publishing \S+: .*\n", re.MULTILINE)
"""A publish's steps, which a terminal shows as a bar that goes away."""
BEGIN, END = "\x1e", "\x1d"


class Step(Struct):
    """One command, or one program.

    Args:
        line: where its block begins in the page.
        shown: the command as the page has it.
        script: what the shell is to run.
        wanted: what it should print; None where the page does not say.
        fails: whether it should fail; None where either will do.
    """

    line: int
    shown: str
    script: str
    wanted: str | None
    fails: bool | None


class Page(Struct):
    """What a page has to be run: files to write first, steps, and the server's flags."""

    files: dict[str, str]
    steps: list[Step]
    flags: list[str]


def read_page(path: Path) -> Page:
    """Reads a page's marked blocks."""
    source = path.read_text(encoding="utf-8")
    flags = SERVER.search(source)
    page = Page({}, [], flags["flags"].split() if flags else [])
    for number, found in enumerate(FENCE.finditer(source), 1):
        mark, text = found["mark"], found["text"]
        line = source.count("\n", 0, found.start()) + 1
        if mark.startswith("file "):
            page.files[mark.removeprefix("file ")] = text
        elif mark == "output":
            page.steps[-1].wanted = text
        elif found["language"] == "console":
            page.steps += console(text, line, fails=mark == "test fails")
        elif found["language"] == "python":
            name = f"block-{number}.py"
            page.files[name] = text
            page.steps.append(Step(line, text, f"python {name}", None, mark == "test fails"))
        else:
            page.steps.append(Step(line, text, text, None, mark == "test fails"))
    return page


def console(text: str, line: int, *, fails: bool) -> Iterator[Step]:
    """The commands of a ```console block, each with what it prints."""
    steps: list[Step] = []
    for offset, row in enumerate(text.splitlines(), 2):
        if row.startswith("$ "):
            steps.append(Step(line + offset, row[2:], row[2:], None, None))
        else:
            steps[-1].wanted = (steps[-1].wanted or "") + row + "\n"
    steps[-1].fails = fails
    return iter(steps)


def script_of(page: Page, replaced: Mapping[str, str]) -> str:
    """Bash that runs every step in one shell, with a mark before and after each."""
    lines = ["exec 2>&1"]
    for step in page.steps:
        lines.append(f"printf '{BEGIN}'")
        lines.append(replace(step.script, replaced).rstrip("\n"))
        lines.append(f"printf '{END}%d' $?")
    return "\n".join(lines) + "\n"


def write_files(page: Page, folder: Path, replaced: Mapping[str, str]) -> None:
    """Writes the page's files and programs."""
    for name, text in page.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(replace(text, replaced), encoding="utf-8")


def complaints(page: Page, output: str, replaced: Mapping[str, str]) -> list[str]:
    """What the steps did otherwise than the page says.

    Args:
        page: the page.
        output: what the script printed.
        replaced: what was put in the place of the page's addresses; it is taken back first.
    """
    found = []
    ran = output.split(BEGIN)[1:]
    for index, step in enumerate(page.steps):
        if index >= len(ran):
            found.append(f"line {step.line}: was not reached: {step.shown}")
            continue
        printed, _, code = ran[index].partition(END)
        printed = PROGRESS.sub("", printed)
        for theirs, ours in replaced.items():
            printed = printed.replace(ours, theirs)
        failed = code.strip() != "0"
        if step.fails is not None and failed != step.fails:
            found.append(f"line {step.line}: exit {code.strip()}: {step.shown}\n{printed}")
        elif step.wanted is not None and not alike(step.wanted, printed):
            found.append(
                f"line {step.line}: {step.shown}\n--- the page says\n{step.wanted}"
                f"--- it printed\n{printed}"
            )
    return found


def alike(wanted: str, printed: str) -> bool:
    """Whether an output is what the page shows, blanks aside; `…` stands for anything."""
    parts = (re.escape(part.strip()) for part in " ".join(wanted.split()).split("…"))
    return re.fullmatch(".*?".join(parts), " ".join(printed.split())) is not None


def replace(text: str, replaced: Mapping[str, str]) -> str:
    """Puts this run's addresses in the place of the page's."""
    for theirs, ours in replaced.items():
        text = text.replace(theirs, ours)
    return text
