"""The sample platform: a small double-entry wallet that follows Siaga's session and idempotency conventions."""
