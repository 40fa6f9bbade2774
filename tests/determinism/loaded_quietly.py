"""Imported inside an action: nothing but the import opens a file."""
