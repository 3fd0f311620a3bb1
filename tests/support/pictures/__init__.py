"""The pictures in docs/images, made of made-up runs: `python -m tests.support.pictures.report`, `...status`."""
