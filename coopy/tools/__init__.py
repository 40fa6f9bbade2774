"""What a person does to a data directory: look into it, check it, copy it, mend it. `coopy.cli` shows it."""
