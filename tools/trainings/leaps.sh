#!/usr/bin/env bash
# leaps.sh FOLDER [BUDGET] [MOLECULES] [NS] [ATOMS]: MMFF94 dynamics of training molecules of ZINC (300 of 2 ns and at most 40 atoms if not
# given, a minute of a core each), those of 30 test molecules, and the training of leaps of 1 to 100 ps (BUDGET of a core, 4h if not given).
# Called again it goes on where it stopped. Wants EQUIDRIFT_DATA, and the tools of this source.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/trainings/jobs.bash
folder=$1 budget=${2:-4h} molecules=${3:-300} ns=${4:-2} atoms=${5:-40}
mkdir -p "$folder"
dynamics() { # PART MOLECULES: those that are not there yet
    python tools/make_leaps.py "$EQUIDRIFT_DATA/zinc_smiles/zinc_29k.smi" "$folder/$1" --part "$1" --molecules "$2" --ns "$ns" \
        --atoms "$atoms" --seconds 36000
}
dynamics train "$molecules"
dynamics test 30
sed -e "s|^data:.*|data: $folder/train|" examples/train_leap.yaml >"$folder/leap.yaml"
train trajectories "$folder/leap.yaml" "$folder/leap" "$budget"
python tools/measure_leap.py "$folder/leap/leap.safetensors" "$folder/test" >"$folder/leap-rows.jsonl"
