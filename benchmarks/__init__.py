"""Benchmarks: `maas` and its peers serving the same model, compared in one run."""
