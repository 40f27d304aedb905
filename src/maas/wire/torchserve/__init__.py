"""TorchServe's and MXNet Model Server's routes and handlers."""
