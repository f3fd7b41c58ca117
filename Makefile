# The commands of the README. What they do is in packaging/.
.PHONY: up foreign down uninstall test test-v2host test-xen lint bench load

up:
	@packaging/packages.sh run
	@packaging/packages.sh --optional arm64
	@packaging/install.sh
	@packaging/start.sh
	@packaging/show.sh

foreign:
	@packaging/packages.sh arm64 foreign
	@packaging/install.sh

down:
	@packaging/stop.sh

uninstall:
	@packaging/uninstall.sh $(if $(filter 1,$(PURGE)),--purge)

test:
	@packaging/test-environment.sh
	@.venv/bin/pytest $(or $(ARGS),--numprocesses 2 --dist loadfile --durations 15)

test-v2host:
	@packaging/test-v2host.sh $(ARGS)

test-xen:
	@packaging/test-xen.sh $(ARGS)

lint:
	@packaging/test-environment.sh
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench:
	@packaging/install.sh
	@packaging/test-environment.sh
	@packaging/packages.sh bench
	@.venv/bin/python -m benchmarks.run $(ARGS)

load:
	@packaging/install.sh
	@packaging/test-environment.sh
	@.venv/bin/python -m benchmarks.load.run $(ARGS)
