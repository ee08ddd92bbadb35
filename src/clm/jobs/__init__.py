"""Background work: runs in child processes, and the table of what runs when."""
