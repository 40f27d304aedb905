"""Triton's Python backend running ONNX Runtime, one engine call per dynamic batch."""

import json
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Runs the ONNX file that the configuration's parameter `onnx` names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the session."""
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = config["parameters"]["onnx"]["string_value"]
        self._session = onnxruntime.InferenceSession(path, options)
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests of one dynamic batch together and take the answers apart."""
        arrays = [pb_utils.get_input_tensor_by_name(r, self._input).as_numpy() for r in requests]
        rows = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        values = self._session.run(None, {self._input: rows})
        responses = []
        start = 0
        for array in arrays:
            end = start + len(array)
            tensors = [
                pb_utils.Tensor(name, value[start:end])
                for name, value in zip(self._outputs, values, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start = end
        return responses
