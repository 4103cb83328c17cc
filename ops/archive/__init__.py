"""The archive: old rows go to a bucket as compressed JSON lines before they leave the database."""
