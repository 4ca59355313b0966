"""Real projects, by plain pytest and by testgrove: `make real-projects`."""
