#!/usr/bin/env bash
# joint-drug.sh FOLDER [BUDGET] [MOLECULES] [DRAWS]: MMFF94 conformers of training and validation molecules of ZINC (all 28,000 if not given,
# .13 s of a core for each of DRAWS, 3 if not given) and the training of the joint model of drug-size molecules (BUDGET of a core, 10h if not
# given), from the model of QM9.
# Called again it goes on where it stopped. Wants EQUIDRIFT_DATA, and the tools of this source.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/trainings/jobs.bash
folder=$1 budget=${2:-10h} molecules=${3:-30000} draws=${4:-3}
mkdir -p "$folder"
python tools/make_drug_molecules.py "$folder/drug_molecules.npz" --zinc "$EQUIDRIFT_DATA/zinc_smiles/zinc_29k.smi" \
    --molecules "$molecules" --draws "$draws" --seconds 36000
sed -e "s|^data:.*|data: $folder/drug_molecules.npz|" examples/train_joint_drug.yaml >"$folder/joint-drug.yaml"
train molecules "$folder/joint-drug.yaml" "$folder/joint-drug" "$budget"
