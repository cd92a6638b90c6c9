#!/usr/bin/env bash
# trajectories.sh list: names of the diffusions over a prior path and the seconds of a core that each is to have, in the order of their worth.
# trajectories.sh NAME FOLDER [SECONDS]: train one of them in FOLDER/NAME. Called again it goes on where it stopped.
# Configurations are examples/train_{nbody,molecules}_residual.yaml and train_pedestrians_density.yaml; `-published` is GeoTDM as published, for
# rows at equal training. Molecules and pedestrians want EQUIDRIFT_DATA; for molecules five core-minutes of MMFF94 dynamics are made first.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/trainings/jobs.bash
jobs="residual-molecules:28800 geotdm-charged-unconditional:1800
geotdm-residual-charged:10800 geotdm-residual-spring:10800 geotdm-residual-gravity:10800
pedestrians-density-hotel:2400 pedestrians-density-eth:2400 pedestrians-density-univ:2400 pedestrians-density-zara1:2400
pedestrians-density-zara2:2400
geotdm-charged-published:10800 geotdm-spring-published:10800 geotdm-gravity-published:10800"
chosen "$@"
system=${name%-published} system=${system##*-}
case $name in
    residual-molecules)
        [ -f "$folder/md.npz" ] || python tools/make_md.py "$EQUIDRIFT_DATA/zinc_smiles/zinc_29k.smi" "$folder/md.npz" \
            --molecules 900 --bursts 4 --frames 30 --spacing 5 --temperatures 300 400 500 --seed 7
        file=molecules_residual change="s|^data: .*|data: [$EQUIDRIFT_DATA/gfn2_md, $folder/md.npz]|"
        ;;
    *-unconditional)
        file=nbody_residual change="s|^options: .*|options: {form: residual}|; /^prior_weights/d; /^context/d; s|^given: .*|given: none|
            s|^frames: .*|frames: 20|; s|^network: .*|network: {width: 48, layers: 4}|; s|^pairs_per_batch: .*|pairs_per_batch: 16000|"
        ;;
    pedestrians-*) file=pedestrians_density change="s|^data: [^ ]*|data: eth-ucy:$EQUIDRIFT_DATA/eth_ucy|; s|^leave_out: [^ ]*|leave_out: $system|" ;;
    *-published) file=nbody_residual change="s|^options: .*|options: {form: published}|; /^prior_weights/d; s|^data: [^ ]*|data: nbody:$system|" ;;
    *) file=nbody_residual change="s|nbody-charged|nbody-$system|; s|^data: [^ ]*|data: nbody:$system|" ;;
esac
sed "$change; s|^name: .*|name: ${name%-published}|; s|^trajectories: .*|trajectories: 3000|" "examples/train_$file.yaml" >"$folder/$name.yaml"
train trajectories "$folder/$name.yaml" "$folder/$name" "${seconds}s"
