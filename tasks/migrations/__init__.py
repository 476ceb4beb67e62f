"""What made the ledger's database as it is, step by step (Alembic)."""
