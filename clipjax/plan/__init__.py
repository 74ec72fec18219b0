"""What a model needs on chips that are not here: compiled for TPU topologies, counted by hand for every chip."""
