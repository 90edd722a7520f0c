"""Measures hephaestus_pg beside what else one could use: ``python -m benchmarks``."""
