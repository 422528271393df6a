"""One platform: where everything is, and how much stricter than the SOP it wants to be."""
