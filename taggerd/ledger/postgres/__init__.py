"""The ledger in a PostgreSQL database, which several machines share: ``taggerd[postgres]``."""
