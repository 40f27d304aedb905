"""Servers and routes: the data plane under Envoy or uvicorn, the control API."""
