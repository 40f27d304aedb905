"""Fakes and conformance suites, shipped: every runtime, registry and fleet must pass them."""
