"""The ledger in a PostgreSQL database, which several hosts share."""
