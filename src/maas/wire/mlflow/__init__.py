"""MLflow's and SageMaker's routes and handlers."""
