"""Ours, found by PYTHONPATH; see rtconsole_path.py beside it."""

import rtconsole_path

rtconsole_path.run("sitecustomize")
