"""Where a system lives, and what it is opened with: the seam, a directory, memory, and the table of options."""
