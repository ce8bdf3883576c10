"""`python -m corelane.processor.worker`: started by the supervisor only."""

import sys

from corelane.processor.system import threads
from corelane.processor.worker.process import main

threads.run(main, sys.argv[1:])
