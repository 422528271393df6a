"""What the gate costs: opening a million accounts, and each movement while everything is open."""
