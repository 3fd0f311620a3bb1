"""The whole job on a loopback stand-in for YouTube, with made-up videos.

`run_demo` downloads clips; `audioset_batch.demo.learn` continues to a classifier. All connections are to 127.0.0.1, and
no process is left running.
"""

from audioset_batch.demo.download import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
