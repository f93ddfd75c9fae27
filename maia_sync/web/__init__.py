"""What is served over HTTP: metrics and health today, pages later."""
