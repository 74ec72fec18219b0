"""Kinds of sources: one module each, whose name is the kind (`--config.data.source=csv`).

A module declares the `data.` keys it reads, with default and meaning, in the dataclass `Keys`, and opens a source from
them and nothing else: `open_source(keys)`. A key that a user sets and the kind does not read is refused
(`clipjax.runs.data`). Named data sets (`clipjax/data/sets`) read the keys of `clipjax.runs.data.DataSetKeys`.
"""
