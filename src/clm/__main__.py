"""`python -m clm`: the command line."""

from clm.cli import main

main()
