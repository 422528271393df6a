"""What recording and verifying evidence costs, beside the naive ways of doing the same."""
