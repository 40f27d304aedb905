"""An ONNX Runtime model for MLServer, which ships none."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """Runs the ONNX file that the settings' `uri` names."""

    async def load(self) -> bool:
        """Load the session."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        self._names = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run one request's tensors."""
        inputs = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        values = self._session.run(None, inputs)
        outputs = [
            NumpyCodec.encode_output(name, value)
            for name, value in zip(self._names, values, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
