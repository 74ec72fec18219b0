"""One file per named data set: its file name is its registration, `INFO` its protocol, `load` its reader."""
