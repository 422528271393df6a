"""The minutes (ZDT-1): what users could do, measured from outside, and what is left of the month's budget."""
