"""The class-design explorer: a local page over a run's cached image features (`clipjax explore RUN`)."""
