"""The document: its clauses, its numbers as limits, and whether each clause holds."""
