"""MLflow's scoring protocol, and what SageMaker's clients send to the same path.

`mlflow/pyfunc/scoring_server/__init__.py` is followed: exactly one of four input forms, CSV with
its header, columns by name with further ones ignored, `predictions` in the answer.
"""
