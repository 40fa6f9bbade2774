"""The documented path of the test helpers; the project's own tests are in the folder ``tests``."""
