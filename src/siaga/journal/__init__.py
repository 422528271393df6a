"""The independent transaction log: what the ledger wrote, kept outside the database (DRP-3.2b)."""
