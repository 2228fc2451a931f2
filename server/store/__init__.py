"""What is kept: database, blobs, keys. Functions take a connection and never decide."""
