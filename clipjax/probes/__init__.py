"""What is asked of a model, as pure functions of features and labels: one file per probe, no device work."""
