"""What coopy costs, each figure against the raw limit measured beside it: ``python -m benchmarks``."""
