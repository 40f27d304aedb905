"""Models, requests and a check of the answers for `grpc.py`; runs in the environment `clients`.

mean.onnx  x float32 [N, 262144] → y float32 [N]: 1 MB in, nothing to compute, nothing to send back
echo.onnx  x float32 [N, 262144] → y the same: 1 MB in and out

`python -m benchmarks.tensor_bodies write FOLDER` makes them and the requests; and
`… check FOLDER MODEL ADDRESS` calls a server with Triton's clients.
"""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path
from typing import Any

VALUES = 1 << 18
"""Of one row: 1 MiB of float32."""
IRIS = ((5.1, 3.5, 1.4, 0.2),)
PATIENCE_S = 30.0


def _model(name: str) -> Any:
    from onnx import TensorProto, checker, helper

    if name == "mean":
        node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)
        shape: list[Any] = ["N"]
    else:
        node = helper.make_node("Identity", ["x"], ["y"])
        shape = ["N", VALUES]
    graph = helper.make_graph(
        [node],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", VALUES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model


def _row() -> Any:
    import numpy as np

    return np.random.default_rng(2).random((1, VALUES), dtype=np.float32)


def write(folder: Path) -> None:
    """Write models and requests.

    Args:
        folder: Where the files go; `iris.onnx` is there already.
    """
    import numpy as np
    from tritonclient import http
    from tritonclient.grpc import service_pb2

    for name in ("mean", "echo"):
        (folder / f"{name}.onnx").write_bytes(_model(name).SerializeToString())
        tensor = http.InferInput("x", [1, VALUES], "FP32")
        tensor.set_data_from_numpy(_row())
        body, header = http.InferenceServerClient.generate_request_body(
            [tensor], outputs=[http.InferRequestedOutput("y", binary_data=True)]
        )
        (folder / f"{name}.bin").write_bytes(body)
        (folder / f"{name}.header").write_text(str(header))
    values = np.array(IRIS, np.float32)
    request = service_pb2.ModelInferRequest(model_name="iris")
    request.inputs.add(name="x", datatype="FP32", shape=values.shape)
    request.raw_input_contents.append(values.tobytes())
    message = request.SerializeToString()
    (folder / "iris.grpc").write_bytes(struct.pack(">BI", 0, len(message)) + message)


def check(folder: Path, name: str, address: str) -> None:
    """Call a server with Triton's clients until it answers right.

    Args:
        folder: Where the models are.
        name: Of one of them; iris is called over gRPC, the others over REST.
        address: Host and port.

    Raises:
        RuntimeError: It does not within half a minute.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            _check(folder, name, address)
        except Exception as error:
            if time.monotonic() > end:
                raise RuntimeError(f"wrong or no answer: {error}") from error
            time.sleep(0.3)
        else:
            return


def _check(folder: Path, name: str, address: str) -> None:
    import numpy as np
    import onnxruntime
    from tritonclient import grpc, http

    library, output = (grpc, "probabilities") if name == "iris" else (http, "y")
    values = np.array(IRIS, np.float32) if name == "iris" else _row()
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"))
    expected = session.run([output], {"x": values})[0]
    with library.InferenceServerClient(address) as client:
        tensor = library.InferInput("x", list(values.shape), "FP32")
        tensor.set_data_from_numpy(values)
        found = client.infer(name, [tensor]).as_numpy(output)
    # Triton keeps an axis that our answer, like the model's, does not have.
    np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=1e-4)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        check(Path(sys.argv[2]), sys.argv[3], sys.argv[4])
