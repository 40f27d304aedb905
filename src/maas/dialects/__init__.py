"""Codecs, one folder per protocol: bytes → core message, core message → bytes.

Every function here is pure: no socket, no `async`, no state between calls, so a codec may run on
the loop (small bodies) or on any thread (large ones). `tensorjson` holds what the JSON dialects
share. Errors are `MaasError`; each dialect's `encode_error` writes them in its own shape.
"""
