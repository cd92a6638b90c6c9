# jobs.bash: what the scripts of trainings have in common; they source it from the root of the source.

# train FAMILY CONFIG OUT BUDGET: `equidrift train`, which goes on where the checkpoint in OUT stopped, if there is one.
train() {
    local family=$1 config=$2 out=$3 budget=$4 more=()
    [ -f "$out/checkpoint.json" ] && more=(--resume)
    equidrift train "$family" "$config" -o "$out" --budget "$budget" "${more[@]}"
}

# chosen "$@": with `list` the names and seconds of $jobs (NAME:SECONDS ...), and the end; else $name, $folder and $seconds of
# NAME FOLDER [SECONDS].
chosen() {
    if [ "$1" = list ]; then
        for job in $jobs; do echo "${job/:/ }"; done
        exit
    fi
    name=$1 folder=$2 seconds=${3:-}
    for job in $jobs; do [ "${job%:*}" = "$name" ] && seconds=${seconds:-${job#*:}}; done
    [ -n "$seconds" ] || {
        echo "$(basename "$0"): no training $name; see $(basename "$0") list" >&2
        exit 2
    }
    mkdir -p "$folder"
}
