# make demo    segment a synthetic chest CT (or CT=path) and look at demo/
# make test    everything that continuous integration checks
# make bench   time and memory of prediction and training, against the plain way (ten minutes)
# make torture  over two thousand inputs, odd and broken ones: right, refused, or wrong (minutes)
# make fuzz MINUTES=10  change inputs at random, led by coverage, until something breaks
# make mutation  change the code one word at a time: do the tests notice? (minutes)
# make audit   known weaknesses of the locked packages; make lock writes the lock files
# make test-matrix  the suite's core on the oldest and newest versions (ten minutes)
# make lungs   train the default model anew (two hours and a half on two cores)
# make lesion  train the lesion model anew, from the released lung model (an hour and a half)
# make nodule  train the nodule model anew (half an hour)
# make example train, evaluate and use a small model on synthetic chests (five minutes)
# make accuracy  what the models reach on patients that they have not seen; accuracy-train: anew
# make faults  kill predictions, trainings and exports a hundred times each
# make screenshots  pictures of the panel, on the test harness

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install --constraint Testing/constraints.txt
ISDMAE := $(BIN)/python -m isdmae
TRAIN := $(BIN)/python -m isdmae_train
DATA ?= ../shared/data
DEMO ?= demo
CT ?=
export ISDMAE_DATA ?= $(DATA)

.PHONY: demo test lint bench torture fuzz mutation lock audit test-matrix lungs lesion nodule example accuracy accuracy-train faults screenshots clean

$(VENV)/isdmae.installed: ISDMAESegmentation/pyproject.toml Testing/constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(None if (3, 10) <= sys.version_info < (3, 14) else \
	  'Python 3.10 to 3.13 is needed, this is %d.%d; say which: make PYTHON=python3.12' % sys.version_info[:2])"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ISDMAESegmentation
	@touch $@

$(VENV)/train.installed: $(VENV)/isdmae.installed Training/pyproject.toml Testing/requirements.txt
	$(PIP) --editable Training --requirement Testing/requirements.txt
	@touch $@

$(DEMO)/phantom.nrrd: $(VENV)/isdmae.installed
	@mkdir -p $(DEMO)
	$(ISDMAE) phantom $@ --overwrite

demo: $(VENV)/isdmae.installed $(if $(CT),,$(DEMO)/phantom.nrrd)
	@mkdir -p $(DEMO)
	$(ISDMAE) predict "$(or $(CT),$(DEMO)/phantom.nrrd)" --overwrite \
	  --output $(DEMO)/lungs.nii.gz --output $(DEMO)/lungs.seg.nrrd \
	  --preview $(DEMO)/lungs.png --report $(DEMO)/report.json
	@echo "Look at $(DEMO)/lungs.png; open $(DEMO)/lungs.seg.nrrd in 3D Slicer."

lint: $(VENV)/train.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What every scan and model passes through: each line and branch of it is run by the tests.
COVERED := */isdmae/volume.py,*/isdmae/io.py,*/isdmae/checks.py,*/isdmae/bundle.py

# Two processes, as in Slicer: PyTorch never shares one with the application.
test: lint
	$(BIN)/python -m pytest --quiet --cov --cov-report= --ignore=Testing/slicer_module
	$(BIN)/python -m pytest --quiet --cov --cov-append --cov-report=term Testing/slicer_module
	$(BIN)/coverage report --fail-under=100 --show-missing --include='$(COVERED)'

bench: $(VENV)/train.installed
	$(BIN)/python Testing/benchmarks/prediction_speed.py --out Resources/docs/results
	$(BIN)/python Testing/benchmarks/training_speed.py --out Resources/docs/results

faults: $(VENV)/train.installed
	$(BIN)/python Testing/faults/run.py --table Resources/docs/results/faults.md

torture: $(VENV)/train.installed
	PYTHONPATH=Testing $(BIN)/python -m torture --write

MINUTES ?= 10
fuzz: $(VENV)/train.installed
	$(PIP) atheris
	PYTHONPATH=Testing $(BIN)/python -m fuzz --minutes $(MINUTES) --write

mutation: $(VENV)/train.installed
	$(PIP) mutmut
	PYTHONPATH=Testing $(BIN)/python -m mutation --write

# What an environment of the released version holds, with the hashes of every file, for every Python
# and system: pip install --require-hashes --requirement FILE.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
  --constraint Testing/constraints.txt --custom-compile-command 'make lock'
LOCKED := ISDMAESegmentation/Resources/locked
lock: $(VENV)/train.installed
	$(LOCK) ISDMAESegmentation/pyproject.toml --output-file $(LOCKED).txt
	printf './ISDMAESegmentation\n./Training\n' | $(LOCK) - --no-emit-package isdmae \
	  --no-emit-package isdmae-train --output-file $(LOCKED)-training.txt

# Fails, too, where the service that knows the weaknesses cannot be reached.
audit: $(VENV)/train.installed
	$(BIN)/python Testing/supply/audit.py $(if $(SERVICE),--service $(SERVICE))

# The Pythons 3.10 to 3.13 must be there (ALLOW_MISSING=1: those that are); folders: $(VENV)-matrix.
test-matrix: $(VENV)/train.installed
	$(BIN)/python Testing/supply/matrix.py --folder $(VENV)-matrix \
	  --write Resources/docs/results/versions.md $(if $(ALLOW_MISSING),--allow-missing)

lungs: $(VENV)/train.installed
	$(TRAIN) prepare --recipe Training/recipes/lungs-prepare.yaml --data $(DATA)
	$(TRAIN) pretrain --recipe Training/recipes/lungs-pretrain.yaml
	$(TRAIN) finetune --recipe Training/recipes/lungs-finetune.yaml
	$(TRAIN) prepare --recipe Training/recipes/lungs-prepare.yaml --data $(DATA) \
	  --out runs/lungs/cache-phantoms --phantoms 12 --phantom-weight 0.06
	$(TRAIN) finetune --recipe Training/recipes/lungs-refine.yaml
	$(TRAIN) finetune --recipe Training/recipes/lungs-hilum.yaml
	$(TRAIN) export --run runs/lungs/hilum --out ISDMAESegmentation/Resources/Models/lungs \
	  --card Training/recipes/lungs-card.yaml

lesion: $(VENV)/train.installed
	$(TRAIN) prepare --recipe Training/recipes/lesion-prepare.yaml --data $(DATA)
	$(TRAIN) finetune --recipe Training/recipes/lesion-finetune.yaml
	$(TRAIN) export --run runs/lesion/finetune --out ISDMAESegmentation/Resources/Models/covid-lesion \
	  --card Training/recipes/lesion-card.yaml

nodule: $(VENV)/train.installed
	$(TRAIN) prepare --recipe Training/recipes/nodule-prepare.yaml --data $(DATA)
	$(TRAIN) compare --recipe Training/recipes/nodule-cv.yaml --budget release --data $(DATA)
	$(TRAIN) export --run runs/nodule/cv/release/parts/fine/fold0-seed0-labels100/finetune --out ISDMAESegmentation/Resources/Models/nodule \
	  --card Training/recipes/nodule-card.yaml

# Each line is a command to try by itself; after it, compare runs/example with the tutorial.
EXAMPLE := Training/recipes/example
example: $(VENV)/train.installed
	$(TRAIN) prepare --recipe $(EXAMPLE)/prepare.yaml
	$(TRAIN) pretrain --recipe $(EXAMPLE)/pretrain.yaml
	$(TRAIN) reconstruct runs/example/pretrain --case phantom-1005 --out runs/example/reconstructions.png
	$(TRAIN) finetune --recipe $(EXAMPLE)/finetune.yaml
	$(TRAIN) export --run runs/example/finetune --out runs/example/model --card $(EXAMPLE)/card.yaml
	$(TRAIN) evaluate --model runs/example/model --manifest runs/example/cache/manifest.jsonl \
	  --only phantom-1005 --out runs/example/evaluation --calibration
	$(ISDMAE) phantom runs/example/chest.nrrd --overwrite
	$(ISDMAE) predict runs/example/chest.nrrd --model runs/example/model --overwrite \
	  --output runs/example/lungs.seg.nrrd --preview runs/example/lungs.png
	@echo "Look at runs/example/reconstructions.png, lungs.png and finetune/report.html."

accuracy: $(VENV)/train.installed
	$(BIN)/python Testing/benchmarks/accuracy/tables.py

accuracy-train: $(VENV)/train.installed
	$(BIN)/python Testing/benchmarks/accuracy/tables.py --train --data $(DATA)

screenshots: $(VENV)/train.installed
	$(BIN)/python Testing/benchmarks/panel_screenshots.py

clean:
	rm -rf $(VENV) $(VENV)-matrix $(DEMO)
