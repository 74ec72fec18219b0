"""Counts into rates with honest intervals: numpy, scipy and pandas only, no device work."""

from clipjax.analysis.intervals import clopper_pearson as clopper_pearson
