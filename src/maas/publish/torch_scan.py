"""Looks through an exported PyTorch program before PyTorch does, and lets known content through.

`torch.export.load` reads more than tensors: it unpickles, evaluates expressions of sizes, resolves
operators by name and writes Python source from names. An exported program needs none of that
beyond operators of PyTorch's own, sums and products of sizes, and plain names. What is here is an
allow-list of those; what is on it is then loaded in the sandbox.

Source: `torch/_export/serde/schema.py` and `torch/export/pt2_archive/_package.py`, PyTorch 2.13.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.runtimes.wording import one_sentence

LARGEST_JSON = 64 << 20
"""Bytes of a program's graph; a transformer of a hundred layers has a tenth of it."""
MODEL = "models/model.json"
_MEMBERS = re.compile(
    r"(models/model\.json|data/weights/(weight_\d+|\w+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|\w+_constants_config\.json)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|\.data/\w+|\.format_version|\.storage_alignment"
    r"|extra/[\w.\-/]+|version)"
)
_NAME = re.compile(r"[\w.\[\]]{0,1000}", re.ASCII)
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+"
    r"|torch\.sym_(max|min|float|int|not|ite|sum)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|math\.(ceil|floor|trunc)",
    re.ASCII,
)
_FORBIDDEN = frozenset({"from_file", "save"})
"""Operators of aten that open files."""
_FUNCTIONS = re.compile(
    r"Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|FloorDiv|ModularIndexing|"
    r"Where|PythonMod|CleanDiv|CeilDiv|CeilToInt|FloorToInt|LShift|RShift|PowByNatural|"
    r"FloatPow|FloatTrueDiv|IntTrueDiv|RoundToInt|RoundDecimal|TruncToInt|TruncToFloat|"
    r"ToFloat|Identity|Eq|Ne|Equality|Unequality|Lt|Le|Gt|Ge|LessThan|GreaterThan|"
    r"StrictLessThan|StrictGreaterThan|And|Or|Not|Piecewise|ExprCondPair|Tuple"
)
"""What sizes are made of, in the words of SymPy and of PyTorch's own functions."""
_SYMBOL = re.compile(r"[su]\d+|zf\d+|true|false")
_SHAPES = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
"""Types that inputs and outputs may be packed in."""
_RE_EXPORT = "export it again with torch.export.save, without custom operators or objects"


def scan_pt2(file: Path, copy: Path) -> dict[str, str]:
    """Checks an archive of `torch.export.save`, and copies what was checked.

    PyTorch's reader of archives is another than Python's, so it gets one about which both agree.

    Args:
        file: as published.
        copy: where to write what PyTorch is to read.

    Returns:
        The version it was written with, by distribution.

    Raises:
        MaasError: INVALID_ARGUMENT for anything that is not on the list, or damaged; TOO_LARGE.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            program = _read(archive)
            for name in archive.namelist():
                if re.fullmatch(r"\w+_(weights|constants)_config\.json", name.rpartition("/")[2]):
                    _check_payload(_json(archive, name))
            _check(program)
            _leave_out_source(program)
            with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as written:
                for name in archive.namelist():
                    if name.endswith(f"/{MODEL}"):
                        written.writestr(name, json.dumps(program))
                        continue
                    with (
                        archive.open(name) as source,
                        written.open(name, "w", force_zip64=True) as target,
                    ):
                        shutil.copyfileobj(source, target, 1 << 20)
        return {"torch": str(program["torch_version"])[:40]}
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise invalid("the archive is damaged; save it again") from error
    except RecursionError as error:
        raise invalid("the program is nested deeper than any that PyTorch writes") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise invalid(
            f"the program is not as torch.export.save of this version writes it "
            f"({one_sentence(error, 80)}); {_RE_EXPORT}"
        ) from error


def _read(archive: zipfile.ZipFile) -> Any:
    roots = {name.partition("/")[0] for name in archive.namelist()}
    if len(roots) != 1:
        raise invalid("the archive has several roots; save it again")
    if len({name.lower() for name in archive.namelist()}) != len(archive.namelist()):
        raise invalid("the archive holds two members of one name; save it again")
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise invalid(
                "the archive is packed, which torch.export.save never does; save it again"
            )
    for name in archive.namelist():
        inner = name.partition("/")[2]
        if not _MEMBERS.fullmatch(inner) or ".." in inner:
            raise invalid(
                f"the archive holds {inner[:60]!r}, which is more than an exported program; "
                f"{_RE_EXPORT}"
            )
    return _json(archive, f"{roots.pop()}/{MODEL}")


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > LARGEST_JSON:
        raise MaasError(
            ErrorKind.TOO_LARGE,
            f"the program's graph is larger than {LARGEST_JSON >> 20} MiB; publish a smaller model",
        )
    with archive.open(name) as member:
        return json.loads(member.read(LARGEST_JSON + 1))


def _check_payload(config: Any) -> None:
    """Weights and constants lie there as they are, never pickled."""
    for name, payload in config["config"].items():
        if payload["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]):
            raise invalid(f"{name[:60]!r} is a pickled object; {_RE_EXPORT}")


def _check(program: Any) -> None:
    graph = program["graph_module"]
    nodes = graph["graph"]["nodes"]
    for inner in _inside(program):
        for key, value in inner.items():
            if key == "nodes" and value is not nodes:
                raise invalid(
                    f"the program has graphs inside its graph, as torch.cond writes; {_RE_EXPORT}"
                )
            if key == "expr_str":
                _check_expression(value)
            elif (key == "name" or key.endswith("_name")) and isinstance(value, str):
                _check_name(value)
            elif key in ("in_spec", "out_spec") and value:
                _check_shape(json.loads(value))
            elif key.endswith("_values"):
                for name in value:
                    _check_name(name)
    for node in nodes:
        target = str(node["target"])
        if not _TARGET.fullmatch(target) or target.split(".")[-2] in _FORBIDDEN:
            raise invalid(
                f"the program calls {target[:80]!r}, which is none of PyTorch's own operators that "
                f"do nothing but compute; {_RE_EXPORT}"
            )
    for call in graph["module_call_graph"]:
        if not _NAME.fullmatch(call["fqn"].replace("@", "")):
            raise invalid(f"the program has an odd name in it; {_RE_EXPORT}")


def _inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document, however deep."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            yield each
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise invalid(f"the program has an odd name in it, {name[:40]!r}; {_RE_EXPORT}")


def _leave_out_source(program: Any) -> None:
    """Takes out what is source code, or goes into it as a comment; no answer depends on it."""
    program["guards_code"] = []
    for node in program["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}


def _check_shape(packed: Any) -> None:
    pending = [packed[1]]
    while pending:
        spec = pending.pop()
        if spec["type"] is not None and spec["type"] not in _SHAPES:
            raise invalid(
                f"the program takes or gives a {str(spec['type'])[:60]}; let it take and give "
                "tensors, in tuples, lists or dictionaries"
            )
        pending.extend(spec["children_spec"])


def _check_expression(text: str) -> None:
    """Sizes: what SymPy evaluates may add, multiply and compare symbols, nothing else."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError) as error:
        raise invalid(f"the program has a size that is no expression; {_RE_EXPORT}") from error
    for node in ast.walk(tree):
        known = isinstance(
            node,
            ast.Expression
            | ast.Load
            | ast.keyword
            | ast.UnaryOp
            | ast.BinOp
            | ast.operator
            | ast.unaryop
            | ast.Tuple,
        )
        if isinstance(node, ast.Call):
            known = isinstance(node.func, ast.Name) and bool(_FUNCTIONS.fullmatch(node.func.id))
        elif isinstance(node, ast.Name):
            known = bool(_FUNCTIONS.fullmatch(node.id) or _SYMBOL.fullmatch(node.id))
        elif isinstance(node, ast.Constant):
            known = isinstance(node.value, int | float) or bool(
                isinstance(node.value, str) and re.fullmatch(r"\w{1,40}|-?\d+\.?\d*", node.value)
            )
        if not known:
            raise invalid(f"the program has a size that is more than arithmetic; {_RE_EXPORT}")
