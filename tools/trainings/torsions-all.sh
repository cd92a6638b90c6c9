#!/usr/bin/env bash
# torsions-all.sh FOLDER [BUDGET] [MOLECULES]: MMFF94 ensembles of training molecules (.75 s of a core each, 10,000 if not
# given), packed, and the training of the torsion diffusion with all distances in view
# on from the shipped weights (BUDGET of a core, 5h if not given).
# Called again it goes on where it stopped. Wants EQUIDRIFT_DATA, and the tools of this source.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/trainings/jobs.bash
folder=$1 budget=${2:-5h} molecules=${3:-10000}
mkdir -p "$folder/ensembles"
[ -f "$folder/packed.npz" ] || {
    python tools/make_torsion_ensembles.py "$folder/ensembles/train" --molecules "$molecules"
    python tools/pack_torsion_ensembles.py "$folder/packed.npz" "$folder"/ensembles/train-*.npz
}
cat >"$folder/torsions-all.yaml" <<YAML
name: torsions-all
data: [$folder/packed.npz]
init: torsions-all
network: {width: 64, rounds: 4}
schedule: {learning_rate: 0.001, warmup_steps: 200}
molecules: 8
rows: 8
licence: MIT
training_data: "ETKDGv3+MMFF94 ensembles (RDKit) of training molecules of ZINC and QM9"
YAML
train torsions-all "$folder/torsions-all.yaml" "$folder/torsions-all" "$budget"
