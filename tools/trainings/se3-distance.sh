#!/usr/bin/env bash
# se3-distance.sh FOLDER [BUDGET]: the data of se3-distance (LIMIT molecules, 20,000 if not set, from the START-th on:
# ten minutes of a core), and its training on from the shipped weights (BUDGET of a core, 3h if not given). Called again it goes on where it stopped. Wants
# EQUIDRIFT_DATA, and the tools of this source.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/trainings/jobs.bash
folder=$1 budget=${2:-3h}
data=$folder/distance
mkdir -p "$data"
for part in train val; do
    [ -f "$data/gfn2_$part.npz" ] || python tools/make_distance_data.py --ensemble \
        "$EQUIDRIFT_DATA/gfn2_conformers/qm9_$part.npz" "$data/gfn2_$part"
done
mkdir -p "$data/train"
[ -f "$data/train/gfn2.npz" ] || cp "$data/gfn2_train.npz" "$data/train/gfn2.npz"
python tools/make_distance_data.py "$EQUIDRIFT_DATA/qm9_130831.npz" "$data/train/mmff" --shard 1000 --limit "${LIMIT:-20000}" \
    --start "${START:-0}"
cat >"$folder/se3-distance.yaml" <<YAML
task: distance
data: $data/train
held_out: [$data/gfn2_val.npz]
gfn2_share: 0.3
name: se3-distance
init: se3-distance
licence: MIT
schedule: {learning_rate: 0.0007}
training_data: "QM9 training bucket: ETKDGv3+MMFF94 conformers (RDKit), GFN2-xTB ensembles (tblite) of 1,456 molecules"
YAML
EQUIDRIFT_WEIGHTS=models/zoo train conformers "$folder/se3-distance.yaml" "$folder/se3-distance" "$budget"
