"""Reading, writing and resumable writing of results."""
