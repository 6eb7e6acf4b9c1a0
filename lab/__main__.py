"""`python -m lab`: the commands behind the Makefile's targets."""

from lab.cli import main

main()
