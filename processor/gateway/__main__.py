"""`python -m processor.gateway`: started by the supervisor only."""

import sys

from processor.gateway.process import main

main(sys.argv[1:])
