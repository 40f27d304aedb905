"""Open Inference Protocol v2 over gRPC: messages → calls, answers → messages.

What the protocol means is as in REST (`maas.dialects.oip`); here is how it is written.
"""
