"""TensorFlow Serving's REST API: predict in row and column form, status and metadata.

Where its document and its code (`json_tensor.cc`, `http_rest_api_handler.cc`) differ, the code is
followed.
"""
