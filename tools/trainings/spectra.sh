#!/usr/bin/env bash
# spectra.sh FOLDER [MOLECULES] [BUDGET] [HEAVY]: harmonic GFN2-xTB spectra of MOLECULES (5,000 if not given, 2.3 seconds of a core each;
# every 25th held out) of QM9 with at most HEAVY (9) heavy atoms, and the training of the joint model that takes them (BUDGET of a core,
# 3h if not given: 3 s a step of 128 molecules on a processor without bfloat16).
# Called again it goes on where it stopped. Wants EQUIDRIFT_DATA, and the tools of this source.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/trainings/jobs.bash
folder=$1 molecules=${2:-5000} budget=${3:-3h} heavy=${4:-9}
mkdir -p "$folder"
packed=$folder/qm9_molecules.npz
[ -f "$packed" ] || python tools/make_molecules.py --qm9 "$EQUIDRIFT_DATA/qm9_130831.npz" --out "$packed"
python tools/make_spectra.py "$EQUIDRIFT_DATA/qm9_130831.npz" "$folder/qm9_spectra.npz" --heavy "$heavy" --molecules "$molecules" \
    --held-out $((molecules / 25)) --seconds 36000
sed -e "s|^spectra:.*|spectra: $folder/qm9_spectra.npz|" examples/train_joint_spectra.yaml >"$folder/joint-spectra.yaml"
echo "data: $packed" >>"$folder/joint-spectra.yaml"
train molecules "$folder/joint-spectra.yaml" "$folder/joint-spectra" "$budget"
