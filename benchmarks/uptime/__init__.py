"""What uptime costs: `python -m benchmarks.uptime`."""
