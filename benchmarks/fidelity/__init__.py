"""How close samples come to real series: `python -m benchmarks.fidelity`, `python -m benchmarks.fidelity.stage3`."""
