"""The results of searches: records of a ledger as trials, ranked and compared. Search, report and cli read them."""
