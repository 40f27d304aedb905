"""The plain calls: `POST /{name}/predict`, `POST /predict`, `POST /classify`.

The answer speaks as the question did. A value under `input_data`, `input_text` or `text` is
answered under `prediction` where the model has one output; a question that names the model's
inputs is answered under the names of its outputs, and so is every model with several outputs.
`/classify` always answers `prediction`, the labels. Errors are
`{"error": {"kind", "message", "request_id"}}`, as the control API's.
"""
