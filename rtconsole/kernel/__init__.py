"""The side that lives in the program: the only importer of zmq, ipykernel and IPython.

Importing this package imports none of them; :mod:`.boot` does, in a thread of ours, when
the first client connects.
"""
