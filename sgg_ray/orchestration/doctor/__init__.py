"""`sgg doctor`: checks of machine, cluster and MLflow, and a smoke test."""
