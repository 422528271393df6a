"""PMT: what fails before it fails, read every hour and recorded every week, each with a limit and a trend."""
