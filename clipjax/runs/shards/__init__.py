"""Runs cut into units of work that any number of machines do without waiting for each other (`clipjax shards`)."""
