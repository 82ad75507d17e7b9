"""Speed against the floor and the peers, as ratios in one process and run: ``python -m tests.benchmarks``."""
