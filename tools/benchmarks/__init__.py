"""Benchmarks that compare two things in one run, because machines are noisy and shared."""
