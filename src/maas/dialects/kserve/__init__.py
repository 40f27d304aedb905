"""What KServe's V1 protocol adds to TensorFlow Serving's REST API: the list of models.

Its predict is TensorFlow Serving's, and `GET /v1/models/NAME` is answered with the fields of both.
"""
