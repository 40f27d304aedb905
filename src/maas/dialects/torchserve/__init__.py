"""TorchServe's and MXNet Model Server's inference API.

There a handler written for each model reads the body, so that no form of it is prescribed. Here a
body is JSON in the plain calls' forms, a list or an array as it is; the raw bytes of a tensor, of
a text or of a file; a `.npy` array; or parts with any of these, one for each input.
"""
