"""Telling people: who is told what and when, how often it is tried, and what came of it."""
