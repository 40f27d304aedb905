"""Open Inference Protocol v2 over REST, with Triton's extensions.

body ─▶ body.read_json_length ─▶ decode ─▶ InferRequest      (flat, header: the commonest forms)
                                   └─ binary.read_blob, tensorjson
InferReply ─▶ encode ─▶ JSON, and tensors in binary after it

Tensors in the caller's shared memory are answered UNIMPLEMENTED. Where the specification is
silent, Triton's behaviour decides.
"""
