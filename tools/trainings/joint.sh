#!/usr/bin/env bash
# joint.sh FOLDER [STEPS]: the training of the joint model of QM9 on from the shipped weights (STEPS of 128 molecules, 46,000 if not given:
# some 10 hours of a core). Steps and not time set the learning rate, so that it may run on a core that others use.
# Called again it goes on where it stopped. Wants the packed QM9 (tools/make_molecules.py) in FOLDER, or EQUIDRIFT_DATA to make it.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/trainings/jobs.bash
folder=$1 steps=${2:-46000}
mkdir -p "$folder"
packed=$folder/qm9_molecules.npz
[ -f "$packed" ] || python tools/make_molecules.py --qm9 "$EQUIDRIFT_DATA/qm9_130831.npz" --out "$packed"
sed -e "s|^model: joint|&\ndata: $packed\ninit: joint|; s|^name: .*|name: joint|" \
    -e "s|^schedule: .*|schedule: {learning_rate: 1.0e-3, warmup_steps: 500, ema: 0.9998, hold: 0.4, steps: $steps}|" \
    examples/train_molecules.yaml >"$folder/joint.yaml"
train molecules "$folder/joint.yaml" "$folder/joint" 1000h
