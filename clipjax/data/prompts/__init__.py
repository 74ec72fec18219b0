"""Class names and templates of the named data sets: JSON files, the script that makes them, and its differences."""
