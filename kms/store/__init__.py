"""What is remembered: plain synchronous functions over a database connection or a folder."""
