"""The calendar in a box: years of windows under a virtual clock, with everything that can befall a controller."""
