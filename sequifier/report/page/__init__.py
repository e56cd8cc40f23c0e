"""Pages that need no network: the report on a search, and learning curves of any runs."""
