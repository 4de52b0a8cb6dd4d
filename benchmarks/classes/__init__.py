"""Whether samples keep their class, and which stage loses it."""
