"""Open Inference Protocol v2 over REST, the JSON form, with Triton's classification extension.

Tensors in binary form and in shared memory are answered UNIMPLEMENTED. Where the specification
is silent, Triton's behaviour decides.
"""
