"""Sweeps: many validation cells that differ in a setting, one test cell with the best."""
