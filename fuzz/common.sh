# Functions of the scripts beside this file, which run at the top of the repository.

targets=(credentials errors files framing model requests responses route streams usage)

# unpack TARGET FOLDER: writes the seeds of a target, each to a file of its own.
unpack() {
    local line number=0
    mkdir -p "$2"
    while IFS= read -r line; do
        number=$((number + 1))
        printf '%b' "$line" >"$2/seed-$number"
    done <"fuzz/seeds/$1"
}

# fuzz TARGET SECONDS PREFIX FOLDER…: runs a target that `fuzz/build` has built. Inputs that crash it are
# written to files whose names begin with PREFIX, and new ones that are worth keeping to the first folder.
fuzz() {
    local target=$1 seconds=$2 prefix=$3
    shift 3
    "target/debug/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len=4096 \
        -print_final_stats=1 -artifact_prefix="$prefix" "$@"
}
