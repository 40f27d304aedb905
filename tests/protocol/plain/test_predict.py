"""The plain calls with requests, as the documents have them."""

from __future__ import annotations

import numpy as np
import pytest
import requests
from tests import zoo
from tests.answers import plain_error

FLOWERS = [zoo.FLOWER, [6.7, 3.0, 5.2, 2.3]]


def red_image() -> np.ndarray:
    image = np.zeros(zoo.IMAGE, np.float32)
    image[..., 0] = 0.5
    return image


def test_the_call_of_the_flask_example(server):
    answer = server.post("/iris/predict", {"input_data": FLOWERS})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["label"] == [0, 2]
    assert np.allclose(np.sum(answer.json()["probabilities"], axis=1), 1)


def test_one_output_is_the_prediction(server):
    answer = server.post("/counts/predict", {"input_data": [[1, 2, 3], [4, 5, 6]]})
    assert answer.text == '{"prediction":[[6],[15]]}'


def test_the_image_call_of_the_documents(server):
    # The call of the document, word for word, save the image, which is one.
    url = f"{server.url}/my_model/predict"
    headers = {"Content-Type": "application/json"}
    data = {"images": red_image().tolist()}
    response = requests.post(url, headers=headers, json=data, timeout=60)
    response_data = response.json()
    scores = response_data["scores"]
    scores = np.array(scores)
    prediction = np.argmax(scores)
    assert prediction == 123
    assert scores.shape == (1, 1000)
    assert scores[0, 123] == pytest.approx(0.5, rel=1e-4)


def test_an_image_without_its_batch_axis_is_answered_without(server):
    answer = server.post("/my_model/predict", {"images": red_image()[0].tolist()})
    assert np.argmax(answer.json()["scores"]) == 123
    assert len(answer.json()["scores"]) == 1000


def test_the_malformed_image_of_the_documents_is_refused(server):
    answer = server.post("/my_model/predict", {"images": [[1, 299, 299, 3, 0.5]]})
    message = plain_error(answer, 400)
    assert "[1, 5]" in message
    assert "[1, 299, 299, 3]" in message


def test_a_row_without_batch_axis_is_answered_without(server):
    answer = server.post("/iris/predict", {"input_data": zoo.FLOWER}).json()
    assert answer["label"] == 0
    assert len(answer["probabilities"]) == 3


def test_named_inputs_are_answered_under_named_outputs(server):
    answer = server.post("/pair/predict", {"a": [[1, 2]], "b": [[3, 4]]})
    assert answer.text == '{"sum":[[4.0,6.0]],"product":[[3.0,8.0]]}'


def test_named_inputs_within_input_data(server):
    answer = server.post("/pair/predict", {"input_data": {"a": [[1, 2]], "b": [[3, 4]]}})
    assert answer.json()["sum"] == [[4, 6]]


def test_a_named_input_of_a_single_output_model(server):
    assert server.post("/counts/predict", {"counts": [[1, 2, 3]]}).json() == {"total": [[6]]}


def test_class_names_are_strings(server):
    assert server.post("/flowers/predict", {"input_data": FLOWERS}).json()["label"] == [
        "setosa",
        "virginica",
    ]


def test_a_model_that_scikit_learn_itself_serves(server):
    assert server.host_of("centroid", 1)["models"] == ["centroid:1"]
    answer = server.post("/centroid/predict", {"input_data": FLOWERS})
    assert answer.json()["label"] == [0, 2]


def test_rows_that_depend_on_each_other_stay_together(server):
    answer = server.post("/centred/predict", {"input_data": [[1, 2], [3, 6]]})
    assert answer.json()["prediction"] == [[-1, -2], [1, 2]]


@pytest.mark.parametrize("key", ["text", "input_text", "input_data"])
def test_chinese_text(server, key):
    answer = server.post("/words/predict", {key: zoo.TEXT})
    assert answer.json()["label"] == "体育"
    assert "体育".encode() in answer.content  # raw UTF-8, not escapes


def test_several_texts(server):
    answer = server.post("/words/predict", {"text": [zoo.TEXT, "新手机的芯片"]})
    assert answer.json()["label"] == ["体育", "科技"]


@pytest.mark.parametrize(
    ("name", "label", "model"),
    [
        ("iris", 0, "iris:1"),
        ("iris:1", 0, "iris:1"),
        ("iris:2", 2, "iris:2"),
        ("iris%3A2", 2, "iris:2"),
        ("iris@prod", 0, "iris:1"),
        ("iris@next", 2, "iris:2"),
        ("iris%40next", 2, "iris:2"),
    ],
)
def test_versions_and_aliases_in_the_path(server, name, label, model):
    answer = server.post(f"/{name}/predict", {"input_data": zoo.FLOWER})
    assert answer.json()["label"] == label
    assert answer.headers["maas-model"] == model


def test_a_name_in_chinese(server):
    answer = server.post("/%E8%8A%B1/predict", {"input_data": [[1, 2]]})
    assert answer.json() == {"prediction": [[2, 4]]}
    assert answer.headers["maas-model"] == "%E8%8A%B1:1"


def test_floats_are_written_shortest_and_with_their_point(server):
    answer = server.post("/%E8%8A%B1/predict", '{"input_data": [[0.05, 8]]}')
    assert answer.text == '{"prediction":[[0.1,16.0]]}'


def test_what_is_not_finite_passes_both_ways(server):
    answer = server.post("/%E8%8A%B1/predict", '{"input_data": [[NaN, -Infinity]]}')
    assert answer.text == '{"prediction":[[NaN,-Infinity]]}'


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_bodies(server, encoding):
    import gzip
    import zlib

    body = b'{"input_data": [[1, 2, 3]]}'
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    answer = server.post("/counts/predict", packed, headers={"content-encoding": encoding})
    assert answer.json() == {"prediction": [[6]]}


def test_chunked_bodies(server):
    parts = iter([b'{"input_data": ', b"[[1, 2, ", b"3]]}"])
    answer = server.ask("POST", "/counts/predict", data=parts)
    assert answer.json() == {"prediction": [[6]]}


def test_a_byte_order_mark_is_read_over(server):
    body = b"\xef\xbb\xbf" + b'{"input_data": [[1, 2, 3]]}'
    assert server.post("/counts/predict", body).json() == {"prediction": [[6]]}
