# make demo       see it at work (needs Python and make, nothing else)
# make test       the suite on the newest interpreter found; what depends on the interpreter on each
#                 from 3.11 to 3.15; and parts of it beside gevent; ARGS="-n 4": all of it on each
# make endurance  a thousand visits, on the newest of them
# make faults     a thousand short programs, and each end and signal beside each state of a console
# make hostile    100,000 hostile messages, and what floods cost, on the newest of them
# make torture    CPython's own tests with a console and without, ARGS="-j 2 test_io"
# make servers    real servers: gunicorn, uvicorn, uWSGI, celery and others
# make lint       ruff and mypy
# make bench      what it costs, as ratios in one run

PYTHON ?= $(shell $(firstword $(wildcard /usr/bin/python3) python3) tests/everywhere.py --newest)
VENV := .venvs/dev
BIN := $(VENV)/bin

.PHONY: demo test endurance faults hostile torture servers lint bench clean

demo: $(VENV)/demo
	$(BIN)/python examples/demo.py

test:
	$(PYTHON) tests/everywhere.py $(ARGS)

endurance:
	RTCONSOLE_ROUNDS=1000 $(PYTHON) tests/everywhere.py --only-newest tests/test_long_life.py

FAULTS := signals exits forks limits containers cell_processes
faults:
	RTCONSOLE_THOROUGH=1 RTCONSOLE_PROGRAMS=1000 $(PYTHON) tests/everywhere.py --only-newest \
		$(FAULTS:%=tests/test_%.py) $(ARGS)

hostile: $(VENV)/test
	RTCONSOLE_MESSAGES=100000 $(BIN)/python -m pytest tests/test_hostile.py $(ARGS)
	$(BIN)/python tests/hostile_cost.py
	RTCONSOLE_TRANSPORT=tcp $(BIN)/python tests/hostile_cost.py

torture: $(VENV)/test
	$(BIN)/python tests/torture.py $(ARGS)

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# uWSGI has to be compiled, and celery's broker is a program of the system's: without, skipped.
# In a venv of its own: where gevent is, a console does more, and that is not to be measured.
SERVERS := .venvs/servers
servers: $(SERVERS)/servers
	-$(SERVERS)/bin/python -m pip install --quiet --disable-pip-version-check uwsgi
	$(SERVERS)/bin/python -m pytest tests/servers $(ARGS)

bench: $(VENV)/bench
	$(BIN)/python -m pytest bench $(ARGS)

clean:
	rm -rf .venvs .mypy_cache .ruff_cache .pytest_cache

# A venv, and a stamp for each set of requirements that is in it.
.venvs/%: pyproject.toml $(shell git ls-files rtconsole sitehook 2>/dev/null)
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check ".[$(@F)]"
	touch $@
