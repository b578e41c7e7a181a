"""Evidence: what a folder of results is made of, and whether it still is what the run left."""
