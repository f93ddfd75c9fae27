"""What stands in for the Maia API in the demo, the tests and the benchmarks."""
