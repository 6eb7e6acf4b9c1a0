# Everything starts here: `make` runs the lab, `make help` lists the rest.
# A target is one line: what to do is said in Python (`lab/cli.py`) or in `scripts/`.

SHELL := /bin/sh
.DEFAULT_GOAL := lab
MAKEFLAGS += --no-print-directory

# LAB_VENV names an environment that is set up already: the image of the containers has one.
PYTHON := $(or $(LAB_VENV),.venv)/bin/python
# The same steps on containers: set-up builds and starts them, and the lab's commands run in one of them.
on_compose = $(if $(LAB_VENV),,$(filter compose,$(LAB_STACK)))
LAB = $(if $(on_compose),scripts/compose,$(PYTHON) -m lab)
# What looks at containers, or is refused where there are some, does not start them.
setup_if_native = $(if $(on_compose),,setup)

# What is given to make (make plan HISTORY=file) goes on in the environment, and a recipe reads it there: a file's name is
# never read as a piece of a shell's command.
GIVEN := HISTORY SUBMISSION SUBMISSIONS RESULTS NAME LINES N EVERY SEED WEEK FAULTS
$(foreach name,$(GIVEN),$(if $(value $(name)),$(eval override export $(name) := $$(value $(name)))))

# --- set up ---

.PHONY: setup
setup: ## install what is missing: a JDK 17, ab, Python's packages, the engines (safe to repeat)
	@$(if $(LAB_VENV),:,$(if $(on_compose),scripts/compose setup,scripts/bootstrap))

# --- the walk ---

.PHONY: lab
lab: setup ## run all eight steps, render the report, and leave the lab running
	@$(LAB) lab

STEPS := step-1 step-2 step-3 step-4 step-5 step-6 step-7 step-8
.PHONY: $(STEPS)
step-1: ## start the stack: Kafka, HDFS, the Hive metastore, Presto
step-2: ## create the topic
step-3: ## run the Flask API
step-4: ## run Apache Bench
step-5: ## land what the topic holds, with Spark batch
step-6: ## land what arrives, with Spark streaming
step-7: ## create the Hive tables
step-8: ## query Presto, and close the account
$(STEPS): step-%: setup
	@$(LAB) step $*

# --- the running lab ---

.PHONY: check status logs watch doctor traffic ledger drill land-quarantine shell plan submit grade autograder report \
	report-check
check: setup ## say which steps are done, not yet done or broken
	@$(LAB) check
status: $(setup_if_native) ## show what runs: pid, port, memory, log
	@$(LAB) status
logs: $(setup_if_native) ## show the end of each log; NAME=kafka for one, LINES=50 for more
	@$(LAB) logs --name "$$NAME" --lines "$${LINES:-20}"
watch: setup ## show the counts at each hop and the last events, live
	@$(LAB) watch
doctor: setup ## try every path of the lab, and say what to mend
	@$(LAB) doctor
traffic: setup ## send traffic: N=100 requests, EVERY=0 seconds a burst, SEED=1; or WEEK=2, that week of the simulation
	@$(LAB) traffic $(if $(WEEK),--week "$$WEEK") --requests "$${N:-100}" --every "$${EVERY:-0}" --seed "$${SEED:-1}"
ledger: setup ## count what was answered, logged, landed and queried, and say where numbers part; JSON=1 for machines
	@$(LAB) ledger $(if $(JSON),--json)
drill: $(setup_if_native) ## list the drills: faults in a lab of their own, and what becomes of the events
	@$(LAB) drill
drill-%: $(setup_if_native) ## run one of them: make drill-kafka-kill
	@$(LAB) drill $*
land-quarantine: setup ## land what the quarantine holds and the contract can read by now
	@$(LAB) land-quarantine
plan: setup ## say what would become of each line of a history, and run nothing; HISTORY=file for another than history.txt
	@$(LAB) plan $(if $(HISTORY),"$$HISTORY")
submit: setup ## pack history, journal, report, scripts and pipeline into submission.zip, with hashes
	@$(LAB) submit
grade: $(setup_if_native) ## replay a history in isolation and grade what it leaves; HISTORY=file, SUBMISSION=archive, SUBMISSIONS=folder
	@$(LAB) grade $(if $(HISTORY),--history "$$HISTORY") $(if $(SUBMISSION),--submission "$$SUBMISSION") \
		$(if $(SUBMISSIONS),--submissions "$$SUBMISSIONS") $(if $(RESULTS),--results "$$RESULTS")
autograder: $(setup_if_native) ## make autograder.zip, the bundle that Gradescope takes
	@$(LAB) autograder
shell: setup ## open a bash that knows the engines' commands and records what you type
	@$(LAB) shell
report: setup ## render report.md from the running lab
	@$(LAB) report
report-check: setup ## make the report again, and say what of report.md is stale or was written by hand
	@$(LAB) report-check

# --- the end ---

# Without Python's packages nothing can be stopped; nothing runs either, unless they were removed under a running lab.
with_python = if test -x $(PYTHON) || test -n "$(on_compose)"; then $(LAB) $(1); elif test -e .lab/home/run; then \
	echo "The lab's Python is gone. Run make setup, then make $(1) again." >&2; exit 1; fi

.PHONY: stop clean distclean
stop: ## stop everything; the data stays
	@$(call with_python,stop)
clean: ## stop everything and remove the lab's data; downloads stay
	@$(call with_python,clean)
distclean: clean ## remove the downloads too
	@$(if $(on_compose),$(LAB) distclean,unset LAB_HOME; $(call with_python,clean))
	@$(if $(on_compose),,rm -rf .venv .lab)

# --- a cluster, and containers ---

.PHONY: mini-cluster mini-cluster-stop test-cluster test-compose
test-cluster test-compose: export LAB_STACK := native
mini-cluster: $(setup_if_native) ## start a small real cluster here: 3 brokers, 3 DataNodes, 2 Spark workers, 2 Presto workers
	@$(LAB) cluster start
mini-cluster-stop: $(setup_if_native) ## stop it; what it holds stays
	@$(LAB) cluster stop
test-cluster: setup ## run the eight steps on such a cluster, kill nodes under load, and close the account
	@$(PYTHON) -m pytest -m cluster
test-compose: setup ## run the lab on containers, kill some under load, and compare its numbers with those without containers
	@$(PYTHON) -m pytest -m compose

# --- for a class ---

.PHONY: bundle
bundle: $(setup_if_native) ## make one archive with all that a set-up downloads, for machines without a network
	@$(LAB) bundle

# --- for developers ---

.PHONY: test lint bench bench-scale
test lint bench bench-scale lock: export LAB_STACK := native
test: setup lint ## pass all tests, those on the real engines included; FAULTS=long for every drill and pairs of them
	@scripts/bootstrap browser
	@$(PYTHON) -m pytest
bench: setup ## measure against the usual solution and against the limits, in about forty minutes
	@$(PYTHON) -m benchmarks
bench-scale: setup ## measure the rate from Kafka to table with 1, 2 and 4 partitions and executors, in about half an hour
	@$(PYTHON) -m benchmarks.scale
lint: setup ## check format, lint and types
	@$(PYTHON) -m ruff format --check . && $(PYTHON) -m ruff check . && $(PYTHON) -m mypy

UV := .lab/uv/bin/uv

.PHONY: lock
lock: setup ## decide anew which versions are used: requirements.lock and lab/engines/locks (needs Maven)
	@test -x $(UV) || { $(PYTHON) -m venv .lab/uv && .lab/uv/bin/python -m pip install --quiet uv; }
	$(UV) pip compile --quiet --universal --python-version 3.10 --no-python-downloads --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate \
		--group pyproject.toml:build --group pyproject.toml:dev pyproject.toml -o requirements.lock
	$(PYTHON) -m lab.engines.lock

# --- help ---

.PHONY: help
help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z0-9%-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
