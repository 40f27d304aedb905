"""The Open Inference Protocol's routes and handlers."""
