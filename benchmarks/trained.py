"""What the frameworks comparison serves; runs in the environment `trained`.

model.h5         a Keras network of 4, 16 and 3 units on iris, in legacy HDF5 as seed 0 has it
pipeline.skops   scaling and logistic regression on iris; pipeline.joblib holds the same
length.py        a Python function of four floats

Bodies and expected answers lie beside them, as `models.py` has them for the other comparison. The
expected ones come from the framework itself, so whoever answers otherwise is found out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.environments import CACHE, HERE, ROOT, TRAINED

ROW = [5.1, 3.5, 1.4, 0.2]
FORMAT = 1  # raise it when what this module writes changes


def make_trained() -> Path:
    """Train models, and write them with bodies and answers, unless they are there.

    Returns:
        The folder that holds them.
    """
    folder = CACHE / "trained"
    stamp = folder / "format"
    wanted = json.dumps({"format": FORMAT, "versions": TRAINED.versions()})
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = [str(TRAINED.python), "-m", "benchmarks.trained", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
        stamp.write_text(wanted)
    return folder


def write_trained(folder: Path) -> None:
    """Train and write.

    Args:
        folder: Where the files go.
    """
    import joblib
    import keras
    import numpy as np
    import skops.io
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_iris(return_X_y=True)
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    network.compile(optimizer=keras.optimizers.Adam(0.02), loss="sparse_categorical_crossentropy")
    network.fit(x, y, epochs=60, batch_size=32, verbose=0)
    network.save(folder / "model.h5")
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
    skops.io.dump(pipeline, folder / "pipeline.skops")
    joblib.dump(pipeline, folder / "pipeline.joblib")
    shutil.copy(HERE / "servers" / "length.py", folder)

    row = np.array([ROW], np.float32)
    expected = {
        "keras": network.predict(row, verbose=0)[0].tolist(),
        "pipeline": pipeline.predict_proba([ROW])[0].tolist(),
        "python": [float(np.linalg.norm(row))],
    }
    (folder / "row.json").write_text(json.dumps({"input_data": [ROW]}))
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    write_trained(Path(sys.argv[1]))
