"""Searches for other tools: an Optuna study, TensorBoard event files, an MLflow store."""
