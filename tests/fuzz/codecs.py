"""Coverage-guided fuzzing of every codec: `scripts/fuzz`, which runs one target a process.

A target takes bytes and may raise MaasError, of a kind that blames the caller; anything else ends
the run and leaves the bytes in a file. What hypothesis tries in every test run is random; this
follows the branches that bytes reach, for as long as it is given.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["maas"]):
    import numpy as np

    from maas.core.errors import ErrorKind, MaasError
    from maas.core.identity import ServableId
    from maas.core.messages import ModelView
    from maas.core.signature import Signature
    from maas.core.tensor import DType, TensorSpec
    from maas.dialects.media import parse_media
    from maas.dialects.mlflow.decode import decode_invocation
    from maas.dialects.oip.decode import decode_infer
    from maas.dialects.oip_grpc.decode import decode_infer as decode_grpc
    from maas.dialects.oip_grpc.split import split
    from maas.dialects.plain.decode import decode as decode_plain
    from maas.dialects.plain.decode import parse as parse_plain
    from maas.dialects.table.npy import read_npy, write_npy
    from maas.dialects.tfserving.decode import decode_predict
    from maas.dialects.tfserving.examplejson import decode_examples
    from maas.dialects.tfserving.predictproto import decode_predict as decode_predict_proto
    from maas.dialects.tfserving.reload import decode_reload
    from maas.dialects.tfserving.taskproto import decode_task
    from maas.dialects.torchserve.decode import decode_prediction
    from maas.protos import message, parse
    from maas.publish.mlflow_yaml import read_yaml
    from maas.publish.pbtxt import read_config
    from maas.wire.grpc.framing import Deframer, frame

BLAMED = {
    ErrorKind.INVALID_ARGUMENT,
    ErrorKind.UNIMPLEMENTED,
    ErrorKind.TOO_LARGE,
    ErrorKind.UNSUPPORTED_MEDIA,
    ErrorKind.FAILED_PRECONDITION,
}
INPUTS = (
    TensorSpec("x", DType.FP32, (None, 2), ("a", "b")),
    TensorSpec("k", DType.INT8, (None,)),
    TensorSpec("t", DType.BYTES, (None,)),
    TensorSpec("b", DType.BOOL, (None,)),
)
OUTPUTS = (TensorSpec("y", DType.FP32, (None,)),)
SIGNATURES = [Signature("serving_default", (one,), OUTPUTS, True) for one in INPUTS]
SIGNATURES.append(Signature("serving_default", INPUTS, OUTPUTS, True))
VIEWS = [ModelView(ServableId("m", 1), {"serving_default": one}, "p", True) for one in SIGNATURES]
LIMIT = 1 << 16
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def with_view(work: Callable[[bytes, ModelView], object]) -> Callable[[bytes], None]:
    """The first byte says which signature; the rest is the body."""

    def target(data: bytes) -> None:
        if data:
            work(data[1:], VIEWS[data[0] % len(VIEWS)])

    return target


def with_media(
    work: Callable[..., object], kinds: tuple[str, ...]
) -> Callable[[bytes, ModelView], object]:
    """The first byte says which content type."""

    def target(data: bytes, view: ModelView) -> None:
        if data:
            media = parse_media(kinds[data[0] % len(kinds)].encode())
            work(data[1:], media, view.signatures["serving_default"])

    return target


def oip_binary(data: bytes, view: ModelView) -> None:
    """Two bytes say how long the JSON is."""
    body = data[2:]
    decode_infer(body, view, int.from_bytes(data[:2], "little") % (len(body) + 1))


def oip_grpc(data: bytes, view: ModelView) -> None:
    """A ModelInferRequest."""
    pieces = split(data)
    decode_grpc(parse(message("inference.ModelInferRequest"), pieces.head), pieces.raws, view)


def tensorflow(name: str, work: Callable[..., object]) -> Callable[[bytes, ModelView], None]:
    """A message of TensorFlow Serving's."""

    def target(data: bytes, view: ModelView) -> None:
        work(parse(message(f"tensorflow.serving.{name}"), data), view)

    return target


def frames(data: bytes) -> None:
    """A stream of gRPC messages."""
    for encoding in (b"", b"gzip", b"deflate"):
        deframer = Deframer(encoding, LIMIT)
        with contextlib.suppress(MaasError):
            deframer.feed(data)
            while deframer.next() is not None:
                pass


def npy(data: bytes) -> None:
    """An array as NumPy saves it."""
    read_npy(data)


def from_file(work: Callable[[Path], object]) -> Callable[[bytes], None]:
    """The bytes as a file of a published folder."""
    path = FOLDER / "file"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        work(path)

    return target


CSV = ("text/csv", "text/csv; header=present", "application/json", "application/x-npy")
PARTS = ("multipart/form-data; boundary=b", "application/json", "application/octet-stream")
TARGETS: dict[str, Callable[[bytes], None]] = {
    "plain": with_view(
        lambda body, view: decode_plain(parse_plain(body), view.signatures["serving_default"])
    ),
    "oip": with_view(decode_infer),
    "oip-binary": with_view(oip_binary),
    "oip-grpc": with_view(oip_grpc),
    "tfserving": with_view(decode_predict),
    "tfserving-examples": with_view(lambda body, view: decode_examples(body, view, "regress")),
    "tfserving-predict-grpc": with_view(tensorflow("PredictRequest", decode_predict_proto)),
    "tfserving-classify-grpc": with_view(
        tensorflow("ClassificationRequest", lambda one, view: decode_task(one, view, "classify"))
    ),
    "tfserving-reload": with_view(
        tensorflow("ReloadConfigRequest", lambda one, view: decode_reload(one))
    ),
    "mlflow": with_view(with_media(decode_invocation, CSV)),
    "torchserve": with_view(with_media(decode_prediction, PARTS)),
    "npy": npy,
    "frames": frames,
    "config-pbtxt": from_file(read_config),
    "mlmodel": from_file(read_yaml),
}


def seeds() -> list[bytes]:
    """Bytes to begin with: one valid request of most forms."""
    x = np.array([[1.5, 2.5]], np.float32)
    request = message("inference.ModelInferRequest")(model_name="m", id="7")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(x.tobytes())
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 8}}]}).encode()
    predict = message("tensorflow.serving.PredictRequest")()
    predict.inputs["x"].dtype = 1
    predict.inputs["x"].float_val.extend([1.5, 2.5])
    texts = [
        '{"x": [[1, 2]]}',
        '{"instances": [{"x": [1, 2]}]}',
        '{"examples": [{"x": [1, 2]}]}',
        json.dumps({"inputs": [{**tensor, "data": [1, 2]}]}),
        '{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}',
        "a,b\n1,2\n",
        "--b\r\nContent-Disposition: form-data; name=x\r\n\r\n[[1,2]]\r\n--b--\r\n",
        'name: "m" max_batch_size: 8 input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]',
        "flavors:\n  onnx: {data: model.onnx}\nsignature: {inputs: '[]'}\n",
    ]
    found = [text.encode() for text in texts]
    found += [request.SerializeToString(), predict.SerializeToString(), write_npy(x)]
    found += [
        frame(b"abc", b"gzip") + frame(b"d"),
        len(head).to_bytes(2, "little") + head + b"12345678",
    ]
    # Targets take bytes of their own before these.
    return found + [b"\0" + one for one in found] + [b"\0\0" + one for one in found]


def main() -> None:
    """`python -m tests.fuzz.codecs TARGET SECONDS`; without any, the names of the targets."""
    if len(sys.argv) < 3:
        sys.stdout.write("\n".join(TARGETS) + "\n")
        return
    name, seconds = sys.argv[1], sys.argv[2]
    target = TARGETS[name]

    def once(data: bytes) -> None:
        try:
            target(data)
        except MaasError as error:
            if error.kind not in BLAMED:
                raise

    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds()):
        (corpus / str(number)).write_bytes(seed)
    arguments = [sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-max_len=4096"]
    atheris.Setup([*arguments, "-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
