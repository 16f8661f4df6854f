"""`python -m kmsim`."""

from kmsim.cli import main

main()
