"""A program that counts, and that nobody can stop: look into it with a console."""

import time


def hello(x):
    """Return what comes after x."""
    return x + 1


def main():
    global t, s
    t = s = 0
    while True:
        t += 1
        s = hello(s)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
