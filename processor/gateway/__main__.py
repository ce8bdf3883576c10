"""`python -m processor.gateway`: started by the supervisor only."""

import sys

from processor import threads
from processor.gateway.process import main

threads.run(main, sys.argv[1:])
