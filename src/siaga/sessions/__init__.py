"""ZDT-1.1b: login sessions live in a cluster of their own, so that a database failure logs nobody out."""
