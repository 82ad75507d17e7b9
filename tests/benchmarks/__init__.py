"""Speed compared with a lower bound and other libraries, as ratios within one run: ``python -m tests.benchmarks``."""
