"""The contract of a runtime, as checks that anybody's runtime can be put through.

    def test_my_runtime(tmp_path):
        artifact = Artifact(str(tmp_path), "model.xyz", "xyz", {"serving_default": signature})
        check_runtime(MyRuntime(), artifact, {"x": rows})

Each check raises AssertionError with what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device, Runtime, Servable, load_servable
from maas.core.signature import DEFAULT_SIGNATURE, Signature, check_inputs
from maas.core.tensor import DType, Tensors

RTOL = 1e-4
ATOL = 1e-5


def check_runtime(
    runtime: Runtime, artifact: Artifact, samples: Tensors, device: Device | None = None
) -> None:
    """Puts a runtime through everything below.

    Args:
        runtime: the runtime.
        artifact: one of its own, with a `serving_default` signature.
        samples: inputs of that signature; at least two rows where it is batched.
        device: where to load.

    Raises:
        AssertionError: where the contract is broken.
    """
    check_description(runtime, artifact)
    check_broken_artifact(runtime, artifact)
    servable = load_servable(runtime, artifact, device or Device())
    try:
        check_servable(servable, artifact.signatures, samples)
    finally:
        servable.close()
    again = load_servable(runtime, artifact, device or Device())
    assert again.infer(DEFAULT_SIGNATURE, samples), "a second load after close must answer"
    again.close()


def check_description(runtime: Runtime, artifact: Artifact) -> None:
    """What it says about itself, before anything is loaded."""
    assert runtime.name, "a runtime has a name"
    assert runtime.platform, "a runtime has a platform"
    assert artifact.format in runtime.formats, f"formats must hold {artifact.format!r}"
    assert runtime.host in ("shared", "dedicated"), "host is 'shared' or 'dedicated'"
    assert not runtime.confined or runtime.host == "dedicated", (
        "what is confined has a host of its own: that ends when the model's process does"
    )
    bound = runtime.estimate(artifact).memory_bytes
    size = artifact.file.stat().st_size
    assert bound >= size, f"an upper bound of memory is at least the file's {size} bytes"


def check_broken_artifact(runtime: Runtime, artifact: Artifact) -> None:
    """A file that is not there is a `FAILED_PRECONDITION` that names no path."""
    missing = Artifact(
        artifact.path, f"missing-{artifact.entry}", artifact.format, artifact.signatures
    )
    error = _refusal(lambda: runtime.load(missing, Device()), "loading a file that is not there")
    assert error.kind is ErrorKind.FAILED_PRECONDITION, "cannot load is FAILED_PRECONDITION"
    assert artifact.path not in error.message, "a message holds no path of the server"


def check_servable(
    servable: Servable, signatures: Mapping[str, Signature], samples: Tensors
) -> None:
    """Signatures, dtypes, shapes, determinism, the batch, wrong values."""
    assert dict(servable.signatures) == dict(signatures), "signatures are the artifact's"
    signature = signatures[DEFAULT_SIGNATURE]
    before = {name: array.copy() for name, array in samples.items()}
    rows = check_inputs(signature, samples)
    answers = servable.infer(DEFAULT_SIGNATURE, samples)
    check_outputs(signature, answers, rows)
    for name, array in samples.items():
        assert _same(before[name], array), f"infer must not change its input {name!r}"
    again = servable.infer(DEFAULT_SIGNATURE, samples)
    for name in answers:
        assert _same(answers[name], again[name]), f"{name!r} differs between two equal calls"
    if signature.batched:
        check_batch(servable, samples, answers, rows)
    check_wrong_values(servable, signature, samples)


def check_outputs(signature: Signature, answers: Tensors, rows: int) -> None:
    """Every output is there, of its dtype and shape."""
    names = {spec.name for spec in signature.outputs}
    assert set(answers) == names, f"outputs are {sorted(names)}, got {sorted(answers)}"
    for spec in signature.outputs:
        array = answers[spec.name]
        assert array.dtype == spec.dtype.numpy, f"{spec.name!r} is {array.dtype}, not {spec.dtype}"
        assert array.ndim == len(spec.shape), f"{spec.name!r} has shape {array.shape}"
        for want, got in zip(spec.shape, array.shape, strict=True):
            assert want in (None, got), f"{spec.name!r} has shape {array.shape}, not {spec.shape}"
        if signature.batched:
            assert len(array) == rows, f"{spec.name!r} has {len(array)} rows for {rows}"
        if spec.dtype is DType.BYTES:
            for item in array.ravel().tolist():
                assert isinstance(item, bytes), f"{spec.name!r} holds {type(item).__name__}"


def check_batch(servable: Servable, samples: Tensors, answers: Tensors, rows: int) -> None:
    """Rows run together equal rows run apart."""
    assert rows >= 2, "give at least two rows of a batched model"
    for row in range(rows):
        one = {name: array[row : row + 1] for name, array in samples.items()}
        for name, array in servable.infer(DEFAULT_SIGNATURE, one).items():
            assert _same(answers[name][row : row + 1], array), (
                f"row {row} of {name!r} run apart differs from the same row run together"
            )


def check_wrong_values(servable: Servable, signature: Signature, samples: Tensors) -> None:
    """What the engine refuses is a `MaasError`, and the servable answers on afterwards."""
    for spec in signature.inputs:
        wrong = dict(samples)
        if spec.dtype is DType.BYTES:
            wrong[spec.name] = np.full(samples[spec.name].shape, b"\xff\xfe", dtype=object)
        elif len(spec.shape) > 1 and spec.shape[-1] is not None:
            array = samples[spec.name]
            wrong[spec.name] = np.concatenate([array, array[..., :1]], axis=-1)
        else:
            continue
        what = f"values that {spec.name!r} cannot take"
        error = _refusal(partial(servable.infer, DEFAULT_SIGNATURE, wrong), what)
        assert error.kind is ErrorKind.INVALID_ARGUMENT, f"{what}: {error.kind}"
        assert error.message, "an error has a message"
        assert "\n" not in error.message, "a message is one sentence on one line"
        assert "Traceback" not in error.message, "a message holds no trace"
    assert servable.infer(DEFAULT_SIGNATURE, samples), "it must answer after a refusal"


def _refusal(call: Callable[[], object], what: str) -> MaasError:
    try:
        call()
    except MaasError as error:
        return error
    raise AssertionError(f"{what} must raise MaasError")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind in "fV":
        return bool(np.allclose(one, other, rtol=RTOL, atol=ATOL, equal_nan=True))
    return bool(np.array_equal(one, other))
