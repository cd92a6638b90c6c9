#!/usr/bin/env bash
# fields.sh list: names of the networks of fields and the seconds of a core that each is to have, in the order of their worth.
# fields.sh NAME FOLDER [SECONDS]: train one of them in FOLDER/NAME. Called again it goes on where it stopped.
# Configurations are examples/train_field*.yaml; `-noisy-se` puts the limiting kernel in, and the three 1D networks begin with
# the shipped weights. On a processor with AVX2 a step took 0.28 s (16 fields of 60 points, or 32 functions of 60 points).
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/trainings/jobs.bash
jobs="se-white:5400 matern52-white:5400 weakly-periodic-white:7200
2d-se-white:7200 2d-curl-free-white:7200 2d-div-free-white:7200
2d-se-noisy-se:7200 2d-curl-free-noisy-se:7200 2d-div-free-noisy-se:7200
sawtooth-network:7200 mixture-network:7200"
chosen "$@"
system=${name%-white} system=${system%-noisy-se} limit=white more=()
case $name in
    *-noisy-se) limit=noisy-se ;;
    se-white | matern52-white | weakly-periodic-white) more=("start: field-$system-network") ;;
esac
file=examples/train_field_${system//-/_}.yaml
[ "$system" = se ] && file=examples/train_field.yaml
{
    sed "s/^name: .*/name: field-$name/; s/^limit: white/limit: $limit/" "$file"
    printf '%s\n' "${more[@]}"
} >"$folder/$name.yaml"
train fields "$folder/$name.yaml" "$folder/$name" "${seconds}s"
