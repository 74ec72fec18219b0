"""What is asked of a model, one file per probe: features and labels in, records out. Nothing is encoded here."""
