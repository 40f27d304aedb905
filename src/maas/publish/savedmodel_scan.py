"""Looks through a SavedModel folder before TensorFlow does: its files and its operators."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.publish.tf_examples import Feature, features_of
from maas.runtimes.saved_model import ENTRY, SERVE
from maas.runtimes.tf_process import open_tensorflow
from maas.runtimes.wording import one_sentence

MOST_FILES = 10_000
LARGEST = (1 << 31) - 1
"""Bytes of a protobuf message."""
CODE = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
"""Operators that call Python, which is not in the file."""
FILES = frozenset(
    {
        *("ReadFile", "WriteFile", "MatchingFiles", "SaveDataset", "SaveDatasetV2", "LoadDataset"),
        *("TextLineReader", "TextLineReaderV2", "WholeFileReader", "WholeFileReaderV2"),
        *("FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TFRecordReader"),
        *("TFRecordReaderV2", "TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2"),
        *("FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "CSVDataset", "CSVDatasetV2"),
        *("CreateSummaryFileWriter", "CreateSummaryDbWriter", "DebugIdentity", "DebugIdentityV2"),
        *("DebugIdentityV3", "DumpTensorProto", "AssetsFileSystem", "SnapshotDataset"),
        *("SnapshotDatasetV2", "DataServiceDataset", "DataServiceDatasetV2", "Rpc", "TryRpc"),
        *("GcsConfigureCredentials", "SdcaFprint", "ExperimentalMatchingFilesDataset"),
        *("MatchingFilesDataset", "SqlDataset", "IgniteDataset", "Send", "Recv", "_Send", "_Recv"),
    }
)
"""Operators that open files or connections. Source: tensorflow/core/ops/*.cc."""
SAVER = frozenset({"Save", "SaveSlices", "SaveV2", "Restore", "RestoreSlice", "RestoreV2"})
"""Operators that every SavedModel holds to read its variables; none of them answers calls."""
METHODS: Mapping[str, Literal["classify", "regress"]] = MappingProxyType(
    {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}
)
"""Method names of signatures that take serialised examples.

Source: tensorflow/cc/saved_model/signature_constants.h.
"""


class SavedModelScan(Struct, frozen=True):
    """What the folder says about itself.

    Args:
        written_with: `tensorflow`.
        reaching: operators that open files and connections.
        methods: of its signatures that are meant for TensorFlow Serving's Classify and Regress,
            `classify` or `regress`.
        features: what it parses out of serialised examples.
    """

    written_with: dict[str, str]
    reaching: tuple[str, ...]
    methods: dict[str, Literal["classify", "regress"]]
    features: dict[str, Feature]


def scan_savedmodel(folder: Path, trust: bool) -> SavedModelScan:
    """Checks the folder.

    Args:
        folder: holds `saved_model.pb`.
        trust: whether operators that reach out of the model are let pass.

    Raises:
        MaasError: INVALID_ARGUMENT or TOO_LARGE, one sentence.
    """
    _check_files(folder)
    graph = _graph_to_serve(_read(folder / ENTRY))
    functions = {each.signature.name: each.node_def for each in graph.graph_def.library.function}
    called = {node.op for node in _called(graph, functions)}
    called_python = sorted(CODE & called)
    if called_python:
        raise invalid(
            f"the model calls Python ({', '.join(called_python)}), which is not saved with it; "
            "save it without tf.py_function"
        )
    reaching = _reaching([graph.graph_def.node, *functions.values()], called)
    if reaching and not trust:
        raise invalid(
            f"the model uses {', '.join(reaching[:4])}, which can read or write files where it "
            "runs; save it without them, or publish it with --trust"
        )
    version = graph.meta_info_def.tensorflow_version[:40]
    methods = {
        str(name): METHODS[signature.method_name]
        for name, signature in graph.signature_def.items()
        if signature.method_name in METHODS
    }
    features = features_of([graph.graph_def.node, *functions.values()]) if methods else {}
    written_with = {"tensorflow": version} if version else {}
    return SavedModelScan(written_with, tuple(reaching), methods, features)


def _check_files(folder: Path) -> None:
    count = 0
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in [*folders, *files]:
            count += 1
            status = os.lstat(Path(place, name))
            regular = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
            if not (regular or stat.S_ISDIR(status.st_mode)) or count > MOST_FILES:
                raise invalid(
                    f"the SavedModel folder holds {name[:60]!r}, which is a link or device, or "
                    "too many files; expected regular files"
                )


def _read(file: Path) -> Any:
    open_tensorflow()
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs
    from tensorflow.core.protobuf import saved_model_pb2

    if not file.is_file():
        raise invalid(f"the SavedModel folder lacks {ENTRY}; publish the folder that holds it")
    if file.stat().st_size > LARGEST:
        raise MaasError(ErrorKind.TOO_LARGE, "saved_model.pb is larger than protobuf's 2 GiB")
    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString(file.read_bytes())
    except (DecodeError, RecursionError, ValueError) as error:
        raise invalid(
            f"saved_model.pb is cut off or damaged ({one_sentence(error, 80)}); save it again"
        ) from error
    return message


def _graph_to_serve(message: Any) -> Any:
    for graph in message.meta_graphs:
        if SERVE in graph.meta_info_def.tags:
            return graph
    raise invalid(
        "the SavedModel has no graph for serving (tagged 'serve'); save it with "
        "tf.saved_model.save or model.export"
    )


def _reaching(everything: list[Any], called: set[str]) -> list[str]:
    """Operators that reach out of the model.

    Args:
        everything: the nodes of the graph and of each function: loading may run any of them.
        called: operators that some signature's answer depends on: savers are counted there only.
    """
    found = {node.op for nodes in everything for node in nodes if node.op in FILES}
    # tf.print can write to a file; its place is an attribute, not an input.
    for nodes in everything:
        for node in nodes:
            if node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:"):
                found.add("PrintV2 to a file")
    return sorted(found | (called & SAVER))


def _called(graph: Any, functions: dict[str, Any]) -> Iterator[Any]:
    """Nodes that some signature's answer depends on, all of those of functions it calls."""
    nodes = {node.name: node for node in graph.graph_def.node}
    seen = {
        info.name.split(":")[0]
        for signature in graph.signature_def.values()
        for info in signature.outputs.values()
    } & nodes.keys()
    pending = list(seen)
    called: list[str] = []
    while pending:
        node = nodes[pending.pop()]
        yield node
        called.extend(_functions_of(node))
        sources = {name.lstrip("^").split(":")[0] for name in node.input} & nodes.keys() - seen
        seen |= sources
        pending.extend(sources)
    entered: set[str] = set()
    while called:
        name = called.pop()
        if name in entered or name not in functions:
            continue
        entered.add(name)
        for node in functions[name]:
            yield node
            called.extend(_functions_of(node))


def _functions_of(node: Any) -> list[str]:
    """Names of the functions that a node calls."""
    return [
        function.name
        for value in node.attr.values()
        for function in [value.func, *value.list.func]
        if function.name
    ]
