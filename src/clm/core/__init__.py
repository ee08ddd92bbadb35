"""What CLM does, free of I/O and frameworks. Read `domain`, then `protocols`, then `manager`."""
