"""TensorFlow Serving's REST rules, with requests."""

from __future__ import annotations

import base64

import pytest
from tests import zoo
from tests.answers import check_sentence

rule = pytest.mark.rule
FLOWER = zoo.FLOWER


def predict(place, name: str, **body: object):
    return place.post(f"/v1/models/{name}:predict", body)


def refused(answer, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    return check_sentence(answer.json()["error"])


@rule("TFS-REST", "`POST /v1/models/NAME[/versions/N|/labels/L]:predict`")
@pytest.mark.parametrize(
    ("path", "label"),
    [("iris", 0), ("iris/versions/2", 2), ("iris/labels/prod", 0), ("iris/labels/next", 2)],
)
def test_predict(place, path, label):
    answer = place.post(f"/v1/models/{path}:predict", {"instances": [FLOWER]})
    assert answer.json()["predictions"][0]["label"] == label


@rule("TFS-REST", "a malformed route is 400")
@pytest.mark.parametrize("path", ["iris:explode", "iris/versions/x:predict", "iris/stages/a"])
def test_malformed(place, path):
    refused(place.post(f"/v1/models/{path}", {"instances": [FLOWER]}))


@rule("TFS-REST", "row format: `instances` of bare values or of objects with every input's name")
def test_rows(place):
    assert predict(place, "counts", instances=[[1, 2, 3]]).json() == {"predictions": [[6]]}
    rows = [{"a": [1, 2], "b": [3, 4]}]
    answer = predict(place, "pair", instances=rows).json()
    assert answer == {"predictions": [{"sum": [4.0, 6.0], "product": [3.0, 8.0]}]}


@rule("TFS-REST", "row format: empty, uneven, missing or unknown names: 400")
@pytest.mark.parametrize(
    "instances",
    [
        [],
        {},
        [{"a": [1, 2]}],
        [{"a": [1, 2], "b": [3, 4], "c": 1}],
        [{"a": [1, 2], "b": [3, 4]}, [1]],
        [{"a": [1, 2], "b": [3, 4]}, {"a": [1], "b": [3, 4]}],
    ],
)
def test_wrong_rows(place, instances):
    refused(predict(place, "pair", instances=instances))


@rule("TFS-REST", '`{"b64": …}` alone is a value, for strings only')
def test_base64(place):
    text = {"b64": base64.b64encode(zoo.TEXT.encode()).decode()}
    assert predict(place, "words", instances=[text]).json()["predictions"][0]["label"] == "体育"
    refused(predict(place, "counts", instances=[[text, text, text]]))
    refused(predict(place, "words", instances=[{"b64": "***"}]))


@rule("TFS-REST", "column format: `inputs` bare or an object; further keys are ignored")
def test_columns(place):
    assert predict(place, "counts", inputs=[[1, 2, 3]]).json() == {"outputs": [[6]]}
    columns = {"a": [[1, 2]], "b": [[3, 4]], "c": "ignored"}
    answer = predict(place, "pair", inputs=columns).json()
    assert answer == {"outputs": {"sum": [[4.0, 6.0]], "product": [[3.0, 8.0]]}}


@rule("TFS-REST", "column format: a missing key, or bare values for several inputs: 400")
def test_wrong_columns(place):
    refused(predict(place, "pair", inputs={"a": [[1, 2]]}))
    refused(predict(place, "pair", inputs=[[1, 2]]))


@rule("TFS-REST", "both `instances` and `inputs`, or neither: 400")
def test_both_forms(place):
    refused(predict(place, "counts", instances=[[1, 2, 3]], inputs=[[1, 2, 3]]))
    refused(predict(place, "counts"))


@rule("TFS-REST", "outputs that have no axis of rows: 400 in row format, scalars in column format")
def test_scalars(place):
    assert "inputs" in refused(predict(place, "total", instances=[[1, 2], [3, 4]]))
    assert predict(place, "total", inputs=[[1, 2], [3, 4]]).json() == {"outputs": 10.0}


@rule("TFS-REST", "`signature_name`; an unknown one is 400")
def test_signature_name(place):
    body = {"instances": [[1, 2, 3]], "signature_name": "serving_default"}
    assert predict(place, "counts", **body).json() == {"predictions": [[6]]}
    refused(predict(place, "counts", **{**body, "signature_name": "nothing"}))


@rule("TFS-REST", 'strings answer as `{"b64"}` only where the output\'s name ends in `_bytes`')
def test_strings_of_outputs(place):
    answer = place.post("/v1/models/typed:predict", {"inputs": typed()}).json()["outputs"]
    encoded = base64.b64encode("花".encode()).decode()
    assert answer["out_bytes"] == [[{"b64": encoded}, {"b64": "YQ=="}]]
    assert predict(place, "words", inputs=[zoo.TEXT]).json()["outputs"]["label"] == ["体育"]


def typed(**changed: object) -> dict[str, object]:
    kinds = [f"in_{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
    whole = {kind: [[0, 1]] for kind in kinds}
    return {
        **whole,
        "in_bool": [[True, False]],
        "in_fp32": [[0.1, 2]],
        "in_fp64": [[0.1, 2]],
        "in_bytes": [["花", "a"]],
        **changed,
    }


@rule("TFS-REST", "floats print as the shortest that read back, whole ones with `.0`")
def test_floats(place):
    text = place.post("/v1/models/typed:predict", {"inputs": typed()}).text
    assert '"out_fp32":[[0.1,2.0]]' in text.replace(" ", "")


@rule("TFS-REST", "`NaN` and `Infinity` pass both ways")
def test_tokens(place):
    body = b'{"inputs": {"a": [[NaN, Infinity]], "b": [[1, 1]]}}'
    text = place.post("/v1/models/pair:predict", body).text.replace(" ", "")
    assert '"product":[[NaN,Infinity]]' in text


@rule("TFS-REST", "integers reject `1.0`, strings and what is out of range: 400")
@pytest.mark.parametrize("value", ["1.0", '"1"', "1e400", "99999999999999999999", "null", "true"])
def test_integers(place, value):
    body = b'{"instances": [[%s, 2, 3]]}' % value.encode()
    refused(place.post("/v1/models/counts:predict", body))


@rule(
    "TFS-REST", "`:classify` answers `results`, pairs of label and score; `context` is understood"
)
def test_classify(place):
    flower = dict.fromkeys(["x"], FLOWER)
    body = {"examples": [flower]}
    answer = place.post("/v1/models/flowers:classify", body)
    assert answer.status_code == 200, answer.text
    [pairs] = answer.json()["results"]
    assert max(pairs, key=lambda pair: pair[1])[0] == "setosa"
    body = {"context": flower, "examples": [{}]}
    assert place.post("/v1/models/flowers:classify", body).json()["results"][0]


@rule("TFS-REST", "`:regress` answers `results`, one value for each example")
def test_regress(place):
    answer = place.post("/v1/models/mean:regress", {"examples": [{"x": [1.0, 2.0]}]})
    assert answer.json() == {"results": [1.5]}


@rule("TFS-REST", "what is no classifier or no regressor is refused with what to use instead")
def test_wrong_task(place):
    refused(place.post("/v1/models/pair:regress", {"examples": [{"a": [1, 2], "b": [1, 2]}]}))
    refused(place.post("/v1/models/pair:classify", {"examples": [{"a": [1, 2], "b": [1, 2]}]}))


@rule("TFS-REST", "status: `model_version_status`, versions as strings, states, error codes")
@pytest.mark.parametrize("path", ["iris/versions/1", "iris/labels/prod"])
def test_status(place, path):
    assert place.get(f"/v1/models/{path}").json()["model_version_status"] == [
        {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
    everything = place.get("/v1/models/iris").json()["model_version_status"]
    assert [one["version"] for one in everything] == ["2", "1"]


@rule("TFS-REST", "`/metadata`: `signature_def` nested twice")
def test_metadata(place):
    answer = place.get("/v1/models/iris/versions/1/metadata").json()
    assert answer["model_spec"] == {"name": "iris", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"


@rule("TFS-REST", "labels point at available versions; an unknown one is refused")
def test_labels(place):
    answer = place.post("/v1/models/iris/labels/nothing:predict", {"instances": [FLOWER]})
    refused(answer, 404)
    wrong = place.api("PUT", "/models/iris/aliases/none", {"version": 9})
    assert wrong.status_code == 404


@rule("TFS-REST", "a label on a version that is not available is refused")
def test_label_of_nothing(place):
    key = {"authorization": f"Bearer {place.key}"}
    assert place.api("PUT", "/models/centred/aliases/gone", {"version": 1}).status_code == 200
    try:
        assert place.post("/v2/repository/models/centred/unload", {}, headers=key).ok
        answer = place.post("/v1/models/centred/labels/gone:predict", {"inputs": [[1, 2]]})
        assert answer.status_code in (400, 404, 503)
        check_sentence(answer.json()["error"])
    finally:
        assert place.post("/v2/repository/models/centred/load", {}, headers=key).ok
    answer = place.post("/v1/models/centred/labels/gone:predict", {"inputs": [[1, 2]]})
    assert answer.status_code == 200


@rule("TFS-REST", 'errors are `{"error": message}`: 404 for an unknown model or version')
@pytest.mark.parametrize("path", ["nobody:predict", "iris/versions/9:predict"])
def test_not_found(place, path):
    refused(place.post(f"/v1/models/{path}", {"instances": [FLOWER]}), 404)


@rule("TFS-REST", "a body that is no JSON object is 400; another method is 405")
def test_no_json(place):
    for body in (b"", b"[1]", b"{", b"\xff"):
        refused(place.post("/v1/models/iris:predict", body))
    refused(place.get("/v1/models/iris:predict"), 405)
