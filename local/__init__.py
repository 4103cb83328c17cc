"""The cloud on one computer, for development and tests. It is never deployed."""
