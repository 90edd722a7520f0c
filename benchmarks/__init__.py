"""What hephaestus_pg costs, side by side with what else one could use: ``python -m benchmarks``."""
