"""A trained model behind HTTP, with Ray Serve."""
