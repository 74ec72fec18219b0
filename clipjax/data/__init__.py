"""Data sets at rest (`source.Source`), the ways to make one, and the pipeline that decodes them."""
