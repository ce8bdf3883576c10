"""How a request gets to a worker: shared memory between gateways and one worker."""
