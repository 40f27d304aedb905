"""Control-plane operations, one function each; the HTTP API calls nothing else."""
