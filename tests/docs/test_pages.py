"""What the pages tell people to type is typed, against a real server; their links lead somewhere.

examples' home (made once) ─copy▶ a server for each page ◀─ one bash that runs the page's blocks
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.blocks import alike, complaints, read_page, script_of, write_files
from tests.server import serving

from maas.wire.envoy import why_not

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples/README.md"])
TRANSLATED = ROOT / "README.zh-CN.md"
RUN = [page for page in PAGES if page != TRANSLATED and read_page(page).steps]
FRONT = "uvicorn" if why_not() else "envoy"
LIMIT_S = 120
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def examples_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `scripts/serve` leaves it: the examples are published."""
    home = tmp_path_factory.mktemp("docs") / "home"
    then = f"'{sys.executable}' '{ROOT / 'examples' / 'all.py'}'"
    with serving(home, "uvicorn", "--then", then) as server:
        assert "digits, iris, topics" in server.banner
    return home


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_what_a_page_shows_is_what_happens(path: Path, examples_home: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("the pages call with curl, which is not here")
    page = read_page(path)
    home = tmp_path / "home"
    shutil.copytree(examples_home, home)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    with serving(home, FRONT, *page.flags) as server:
        address = f"127.0.0.1:{server.port}"
        replaced = {
            "127.0.0.1:8080": address,
            "localhost:8080": address,
            "~/.local/share/maas": str(home),
        }
        write_files(page, folder, replaced)
        done = subprocess.run(
            ["bash", "-c", script_of(page, replaced)],
            cwd=folder,
            env=server.env
            | {
                "MAAS_URL": server.url,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        found = complaints(page, done.stdout.decode(), replaced)
    assert not found, f"{name_of(path)}:\n" + "\n".join(found)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    missing = []
    for match in LINK.finditer(text):
        target, _, anchor = (match[1] or match[2]).partition("#")
        if "://" in target:
            continue
        file = path if not target else (path.parent / target).resolve()
        if not file.exists():
            missing.append(target)
        elif anchor and anchor not in anchors(file):
            missing.append(f"{target}#{anchor}")
    assert missing == []


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_are_run() -> None:
    guides = ("tutorial", "publish", "call", "keys", "operate")
    wanted = {"README.md", *(f"docs/{guide}.md" for guide in guides)}
    assert wanted <= {name_of(page) for page in RUN}


def test_the_translation_shows_the_same_commands() -> None:
    original, translated = read_page(ROOT / "README.md"), read_page(TRANSLATED)
    assert translated.files == original.files
    assert [(step.script, step.wanted, step.fails) for step in translated.steps] == [
        (step.script, step.wanted, step.fails) for step in original.steps
    ]


PAGE = """
<!-- server --auth required -->
<!-- file a.txt -->
```text
at localhost:8080
```
<!-- test -->
```console
$ cat a.txt
at localhost:8080
$ echo one two; false
one …
$ true
```
<!-- test fails -->
```console
$ exit_status() { return 3; }; exit_status
```
<!-- test -->
```python
print("three")
```
<!-- output -->
```text
four
```
```console
$ not run
```
"""


def test_a_page_that_is_wrong_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    page = read_page(path)
    replaced = {"localhost:8080": "127.0.0.1:5"}
    write_files(page, tmp_path, replaced)
    done = subprocess.run(
        ["bash", "-c", script_of(page, replaced)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert page.flags == ["--auth", "required"]
    assert (tmp_path / "a.txt").read_text() == "at 127.0.0.1:5\n"
    found = complaints(page, done.stdout, replaced)
    assert len(found) == 1
    assert "three" in found[0]


@pytest.mark.parametrize(
    ("wanted", "printed", "same"),
    [
        ("a … c\n", "a b c\n", True),
        ("a   b\n", "a b\n", True),
        ("a\n", "a b\n", False),
        ('{"label":[0],…\n', '{"label":[0],"p":[1]}\n', True),
    ],
)
def test_outputs_are_compared_loosely(wanted: str, printed: str, same: bool) -> None:
    assert alike(wanted, printed) is same
