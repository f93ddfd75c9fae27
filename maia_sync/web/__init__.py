"""What is served over HTTP: pages, metrics and health."""
