"""Two reports side by side: what changed from one to the other, and how sure that is."""
