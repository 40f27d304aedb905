"""A TensorFlow Serving base path with SavedModels, as that server's own users have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.load import Load
from tests.server import wait_until

pytestmark = pytest.mark.xdist_group("tensorflow")

SAVE = """
import sys
import tensorflow as tf

class Scale(tf.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = tf.Variable(float(factor))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def serve(self, x):
        return {"y": x * self.factor}

for number in (2, 5, 6):
    model = Scale(number)
    place, signatures = f"{sys.argv[1]}/{number}", {"serving_default": model.serve}
    tf.saved_model.save(model, place, signatures=signatures)
"""
BODY = {"instances": [[1.0, 2.0]]}


def test_saved_models_under_a_base_path(start_any, tmp_path: Path) -> None:
    models = tmp_path / "models"
    subprocess.run(
        [sys.executable, "-c", SAVE, str(models)], check=True, capture_output=True, timeout=180
    )
    later = (models / "6").rename(tmp_path / "6")
    server = start_any(
        "--model_base_path", str(models), "--model_name", "scale",
        "--file_system_poll_wait_seconds", "0.5",
    )  # fmt: skip
    path = "/v1/models/scale:predict"
    wait_until(lambda: server.post(path, BODY).status_code == 200, 60, "the model")
    assert server.post(path, BODY).json() == {"predictions": [[5.0, 10.0]]}
    with Load(server, path, BODY) as load:
        later.rename(models / "6")
        six = {"predictions": [[6.0, 12.0]]}
        wait_until(lambda: server.post(path, BODY).json() == six, 120, "version 6")
    assert load.failures == []
