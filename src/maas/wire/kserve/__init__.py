"""KServe's V1 routes and handlers."""
