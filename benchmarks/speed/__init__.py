"""How fast, and how cost grows: `python -m benchmarks.speed`. A file a section."""
