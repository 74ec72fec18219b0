"""Kinds of sources: one module each, whose name is the kind (`--config.data.source=csv`).

A module declares the `data.` keys it reads, with default and meaning, in `KEYS`, and opens a source from them and
nothing else: `open_source(keys)`, where `keys` has an attribute per key. A key that a user sets and the kind does not
read is refused (`clipjax.runs.data`). Named data sets (`clipjax/data/sets`) read the keys of `named`.
"""
