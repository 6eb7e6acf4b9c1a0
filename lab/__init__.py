"""A teaching lab for data engineering: one event, from a game's API to a Presto query."""
