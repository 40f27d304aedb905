"""The plain calls', the probes' and the index's routes and handlers."""
