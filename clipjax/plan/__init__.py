"""What a model needs on chips that you do not have: compiled for TPU topologies, counted by hand for every chip."""
