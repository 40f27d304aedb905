"""TensorFlow Serving's routes and handlers."""
