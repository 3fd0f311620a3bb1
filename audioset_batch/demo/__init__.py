"""The whole job on a loopback stand-in for YouTube, with made-up videos: `run_demo`, and on to a classifier
with `audioset_batch.demo.learn`. Everything talks to 127.0.0.1 only, and nothing is left running.
"""

from audioset_batch.demo.download import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
