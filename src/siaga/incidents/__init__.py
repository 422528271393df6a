"""Incidents (ZDT-1): levels, timelines, and telling people."""
