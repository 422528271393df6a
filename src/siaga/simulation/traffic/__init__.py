"""ZDT-1.1a in a box: the real judgement among simulated nodes, probes, faults and a data plane."""
