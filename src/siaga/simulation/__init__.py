"""The world in a box: virtual clocks, simulated servers, fault catalogues, invariants."""
