"""Models that another server serves: calls are passed on, over OIP or TensorFlow Serving.

```
UpstreamServable ─ infer ─▶ OipRest · TfRest ─▶ Rest (httpcore) ─┐
                       └──▶ OipGrpc · TfGrpc ─▶ Rpc (grpcio)    ─┴▶ Network: may this address be
                                                                   called? ─▶ the other server
```

Nothing that is published is opened but a URL, and nothing that comes back is believed: sizes,
types and shapes are checked, and what an answer says reaches callers without addresses.
"""
