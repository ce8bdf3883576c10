"""`python -m corelane`: the command line."""

from corelane.commands.main import main

main()
