"""KServe V1, MLflow, SageMaker and TorchServe over HTTP, with requests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests import zoo

rule = pytest.mark.rule
FLOWERS = [zoo.FLOWER, [6.3, 3.3, 6.0, 2.5]]
COLUMNS = ["a", "b", "c", "d"]
RECORDS = [dict(zip(COLUMNS, row, strict=True)) for row in FLOWERS]
IRIS = {"X-Model": "iris"}


@rule("KSERVE", "`GET /v1/models` lists `models`")
def test_list(place):
    assert "iris" in place.get("/v1/models").json()["models"]


@rule(
    "KSERVE",
    "`POST /v1/models/M:explain`",
    reason="there are no explainers yet",
    instead="501, which says so",
)
def test_explain(place):
    answer = place.post("/v1/models/iris:explain", {"instances": FLOWERS})
    assert answer.status_code == 501
    assert answer.json()["error"]


@rule("MLFLOW", "exactly one of `dataframe_split`, `dataframe_records`, `instances`, `inputs`")
@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": COLUMNS, "data": FLOWERS}},
        {"dataframe_records": RECORDS},
        {"instances": FLOWERS},
        {"inputs": FLOWERS},
    ],
)
def test_forms(place, body):
    assert place.post("/invocations", body).json() == {"predictions": [0, 2]}
    both = {**body, "inputs": FLOWERS, "instances": FLOWERS}
    assert place.post("/invocations", both).status_code == 400


@rule("MLFLOW", "a bare list is 400")
def test_bare(place):
    answer = place.post("/invocations", FLOWERS)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"


@rule("MLFLOW", "`text/csv` with a header")
def test_csv(place):
    text = "a,b,c,d\n" + "".join(",".join(map(str, row)) + "\n" for row in FLOWERS)
    answer = place.post("/invocations", text, headers={"content-type": "text/csv"})
    assert answer.json() == {"predictions": [0, 2]}


@rule("MLFLOW", "another content type, charset or parameter of it is 415")
@pytest.mark.parametrize(
    "kind", ["text/plain", "text/csv; charset=gb18030", "application/json; format=pandas-split"]
)
def test_media(place, kind):
    answer = place.post("/invocations", "{}", headers={"content-type": kind})
    assert answer.status_code == 415


@rule(
    "MLFLOW", "`GET /ping`, `/health`: 200 while calls are answered; the body is JSON, not a blank"
)
def test_ping(place):
    for path in ("/ping", "/health"):
        answer = place.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "Healthy"})


@rule("MLFLOW", "SageMaker's `X-Amzn-SageMaker-Target-Model`; also `X-Model` and `?model=`")
def test_target(place):
    body = {"instances": [[1, 2, 3]]}
    header = {"X-Amzn-SageMaker-Target-Model": "counts"}
    assert place.post("/invocations", body, headers=header).json() == {"predictions": [[6]]}
    assert place.post("/invocations", body, headers={"X-Model": "counts"}).status_code == 200
    assert place.post("/invocations?model=counts", body).status_code == 200


@rule("MLFLOW", "SageMaker's CSV without a header, for models of numbers")
def test_bare_csv(place):
    text = "".join(",".join(map(str, row)) + "\n" for row in FLOWERS)
    answer = place.post("/invocations", text, headers={"content-type": "text/csv"})
    assert answer.json() == {"predictions": [0, 2]}


@rule("MLFLOW", "SageMaker's `application/x-npy`, both ways")
def test_npy(place):
    file = io.BytesIO()
    np.save(file, np.array(FLOWERS))
    kind = "application/x-npy"
    answer = place.post(
        "/invocations", file.getvalue(), headers={"content-type": kind, "accept": kind}
    )
    assert np.load(io.BytesIO(answer.content)).tolist() == [0, 2]


@rule(
    "MLFLOW",
    "`application/vnd.apache.parquet`",
    reason="no reader of Parquet is installed with this server",
    instead="415; send `text/csv` or JSON",
)
def test_parquet(place):
    kind = {"content-type": "application/vnd.apache.parquet"}
    assert place.post("/invocations", b"PAR1", headers=kind).status_code == 415


def scaled(folder: Path) -> Path:
    """A model that MLflow's own code runs: `a` times the parameter `k`, which is 2 by default."""
    # Made of a text, so that it is saved with the model and not looked for among the tests.
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "import mlflow.pyfunc\n"
        "class Scaled(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return (model_input['a'] * (params or {'k': 2.0})['k']).to_numpy()\n",
        space,
    )
    import mlflow
    from mlflow.models import infer_signature

    example = pd.DataFrame({"a": [1.5, 2.5]})
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=space["Scaled"](),
        signature=infer_signature(example, np.array([3.0, 5.0]), {"k": 2.0}),
        pip_requirements=[],
    )
    return folder


@rule(
    "MLFLOW",
    "`params`, of a model that declares some",
    reason="they are not passed on to models that MLflow's own code runs",
    instead="501, which says so; without `params` the model keeps the defaults of its signature",
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_params_that_a_model_declares(place, tmp_path):
    place.publish(scaled(tmp_path / "scaled"), "scaled", trust=True)
    try:
        body = {"dataframe_records": [{"a": 1.5}]}
        answer = place.post("/invocations?model=scaled", body)
        assert (answer.status_code, answer.json()) == (200, {"predictions": [3.0]})
        answer = place.post("/invocations?model=scaled", {**body, "params": {"k": 10.0}})
        assert answer.status_code == 501
        assert "defaults" in answer.json()["message"]
    finally:
        assert place.api("DELETE", "/models/scaled").status_code == 204


@rule("TORCHSERVE", "`POST /predictions/NAME[/VERSION]` with JSON")
@pytest.mark.parametrize(("path", "labels"), [("iris", [0, 2]), ("iris/2", [2, 0])])
def test_predictions(place, path, labels):
    assert place.post(f"/predictions/{path}", FLOWERS).json()["label"] == labels


@rule("TORCHSERVE", "a raw body: little-endian numbers, or the bytes of a text")
def test_raw(place):
    raw = np.array(FLOWERS, "<f4").tobytes()
    assert place.post("/predictions/iris", raw).json()["label"] == [0, 2]
    assert place.post("/predictions/words", zoo.TEXT.encode()).json()["label"] == "体育"


@rule("TORCHSERVE", "multipart bodies: `data`, or a part for each input")
def test_parts(place):
    url = place.url + "/predictions/"
    data = {"data": ("flowers.json", b"[[5.1, 3.5, 1.4, 0.2]]", "application/json")}
    assert place.http.post(url + "iris", files=data, timeout=60).json()["label"] == [0]
    two = {"a": (None, "[[1, 2]]"), "b": (None, "[[3, 4]]")}
    assert place.http.post(url + "pair", files=two, timeout=60).json()["sum"] == [[4.0, 6.0]]


@rule("TORCHSERVE", 'errors `{"code", "type", "message"}`')
@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("nobody", b"[1]", 404, "ModelNotFoundException"),
        ("iris", b"[[1]]", 400, "BadRequestException"),
    ],
)
def test_torchserve_errors(place, path, body, status, kind):
    answer = place.post(f"/predictions/{path}", body)
    assert answer.status_code == answer.json()["code"] == status
    assert answer.json()["type"] == kind
    assert answer.json()["message"]


@rule("TORCHSERVE", '`GET /ping` → `{"status":"Healthy"}`')
def test_torchserve_ping(place):
    assert place.get("/ping").json() == {"status": "Healthy"}


@rule("TORCHSERVE", "`GET /models` in pages, `GET /models/NAME`")
def test_models(place):
    page = place.get("/models?limit=2").json()
    assert len(page["models"]) == 2
    assert page["nextPageToken"] == "2"
    assert place.get("/models/iris").json()[0]["modelName"] == "iris"


@rule(
    "TORCHSERVE",
    "pictures (`image/jpeg`, `image/png`) for a model of numbers",
    reason="TorchServe's handlers decode them with the model's own code, which is not run here",
    instead="415; send the numbers as JSON, `application/x-npy` or raw bytes",
)
def test_pictures(place):
    kind = {"content-type": "image/jpeg"}
    assert place.post("/predictions/my_model", b"\xff\xd8\xff", headers=kind).status_code == 415


@rule(
    "TORCHSERVE",
    "registering, scaling and removing models (`POST`, `PUT`, `DELETE /models…`)",
    reason="a model archive names code by URL; models are published here with a key",
    instead="501, naming `maas publish` and `POST /api/models`",
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_management(place, method):
    answer = place.ask(method, "/models/iris")
    assert answer.status_code == 501
    assert "maas publish" in answer.json()["message"]
