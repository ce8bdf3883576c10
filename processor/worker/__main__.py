"""`python -m processor.worker`: started by the supervisor only."""

import sys

from processor import threads
from processor.worker.process import main

threads.run(main, sys.argv[1:])
