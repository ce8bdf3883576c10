"""`python -m processor.worker`: started by the supervisor only."""

import sys

from processor.worker.process import main

main(sys.argv[1:])
