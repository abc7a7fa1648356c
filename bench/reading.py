"""A client that reads the program's output and forgets it, until it is ended."""

import json
import sys

import zmq

with open(sys.argv[1]) as file:
    info = json.load(file)
socket = zmq.Context().socket(zmq.SUB)
socket.connect(f"{info['transport']}://{info['ip']}-{info['iopub_port']}")
socket.subscribe(b"")
is_told = False
while True:
    content = socket.recv_multipart()[-1]
    if b"over" in content and not is_told:
        is_told = True
        print("reading", flush=True)
