"""Load on the service: `python -m bench.load`. Invariant: no answer's time is left out because another one was late."""
