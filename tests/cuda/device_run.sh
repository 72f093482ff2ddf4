#!/usr/bin/env bash
# Build the package and check it on this machine's GPU.
#
#     tests/cuda/device_run.sh [PART...]
#
# Parts: build table cuda big sanitize first profile bench   (default: all but profile)
#   build     install the package from this checkout into $SITE; every other part needs it
#   table     the operation table on CUDA, against the float64 reference
#   cuda      streams, graphs, threads, several GPUs, wild indices, 50 runs with the same bits
#   big       tensors of more than 2^31 elements
#   sanitize  compute-sanitizer: memcheck, initcheck, racecheck, synccheck
#   first     time of the first use of kernels, and host time per call
#   profile   ncu on the main kernels
#   bench     the benchmark; arguments from $BENCH
# Logs and results go to $OUT (default: build/device). A table of the parts comes last; the exit
# status is 1 if a part failed. Nothing is downloaded: PyTorch with CUDA, pytest, hypothesis,
# scikit-build-core, cmake and ninja must be installed.
set -u
cd "$(dirname "$0")/../.."
OUT=${OUT:-build/device}
SITE=${SITE:-/tmp/causal-conv1d-site}
PYTHON=${PYTHON:-python3}
WORKERS=${WORKERS:-$(nproc)}
export PYTHONPATH=$SITE${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
mkdir -p "$OUT"
summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
failed=0

# step NAME SECONDS LOG COMMAND...: run it under a time limit, log it, add a line to the table.
step() {
    local name=$1 limit=$2 log=$OUT/$3 start=$SECONDS state=ok
    shift 3
    echo "== $name: $*" | tee -a "$log"
    timeout --kill-after=10 "$limit" "$@" >>"$log" 2>&1
    local rc=$?
    if [ $rc -eq 124 ] || [ $rc -eq 137 ]; then
        state="OUT OF TIME ($limit s)"
    elif [ $rc -ne 0 ]; then
        state="FAILED ($rc)"
    fi
    [ "$state" = ok ] || { failed=1; tail -n 25 "$log"; }
    local said
    said=$(grep -v '^$' "$log" | tail -n 1 | tr -d '=' | cut -c1-90)
    printf '%-12s %-20s %4d s  %s\n' "$name" "$state" $((SECONDS - start)) "$said" >>"$summary"
}

# Whether a sanitizer's log says that every case ran and nothing was found.
sanitizer_verdict() {
    cat "$1"
    grep -q '^[0-9]* cases, [0-9]* results$' "$1" &&
        grep -q 'ERROR SUMMARY: 0 errors\|RACECHECK SUMMARY: 0 hazards' "$1"
}
export -f sanitizer_verdict

build() {
    rm -rf "$SITE"
    step build 240 build.log "$PYTHON" -m pip install --quiet --no-build-isolation --no-deps \
        --no-index --disable-pip-version-check --target "$SITE" .
    step info 120 build.log "$PYTHON" -c "import causal_conv1d_mps as ccmps
print(ccmps.info(), ccmps.info()['cuda'], sep='\n')
raise SystemExit(not ccmps.info()['cuda'].startswith('yes'))"
}

table() {
    # One core each for the reference's arithmetic: the workers are the parallelism.
    step table 420 table.log env OMP_NUM_THREADS=1 "$PYTHON" -m pytest -q -p no:cacheprovider -n "$WORKERS" --maxfail 40 \
        --backend cuda -k 'cuda and not test_cuda' --ignore tests/python/models tests/python
}

cuda() {
    step c-api 120 build.log bash -c "cmake -P cmake/embed_kernels.cmake && cc -O2 -ffp-contract=off -Iinclude -Isrc tests/cuda/test_gpu.c \
        src/*/*.c src/*/*/*.c -o /tmp/test_gpu -lm -lpthread -ldl &&
        CAUSAL_CONV1D_NVRTC=\$($PYTHON -c 'from causal_conv1d_mps import _cuda
print(_cuda.nvrtc_paths()[0])') /tmp/test_gpu"
    step cuda 240 cuda.log "$PYTHON" -m pytest -q -p no:cacheprovider -k 'not two_to_the_31' \
        --durations 8 tests/python/test_cuda.py
}

big() {
    step big 150 cuda.log "$PYTHON" -m pytest -q -p no:cacheprovider -k two_to_the_31 \
        tests/python/test_cuda.py
}

# The four tools side by side: each is mostly waiting for one CPU core.
sanitize() {
    local tools="memcheck initcheck racecheck synccheck" tool pids=()
    for tool in $tools; do
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout --kill-after=10 400 compute-sanitizer \
            --tool "$tool" --error-exitcode 9 --print-limit 20 \
            "$PYTHON" tests/cuda/sanitize.py >"$OUT/$tool.part" 2>&1 &
        pids+=($!)
    done
    wait "${pids[@]}"
    for tool in $tools; do
        step "$tool" 10 sanitize.log bash -c 'sanitizer_verdict "$0"' "$OUT/$tool.part"
        rm -f "$OUT/$tool.part"
    done
}

first() {
    step first 120 build.log "$PYTHON" tests/cuda/first_use.py
    step host 120 build.log "$PYTHON" tests/cuda/host_time.py
    tail -n 20 "$OUT/build.log"
}

profile() {
    local metrics=gpu__time_duration.sum,dram__bytes_read.sum,dram__bytes_write.sum
    metrics+=,dram__throughput.avg.pct_of_peak_sustained_elapsed,launch__registers_per_thread
    metrics+=,sm__warps_active.avg.pct_of_peak_sustained_active,smsp__inst_executed.sum
    metrics+=,smsp__issue_active.avg.pct_of_peak_sustained_active,launch__grid_size
    metrics+=,l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum,launch__block_size
    step profile 240 profile.log ncu --clock-control none --metrics "$metrics" \
        --kernel-name 'regex:forward|backward|update|reduce' "$PYTHON" tests/cuda/profile_kernels.py
}

bench() {
    # shellcheck disable=SC2086  # $BENCH is a list of arguments
    step bench 420 bench.log "$PYTHON" -m bench --device cuda --out "$OUT" ${BENCH:-}
}

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(build table cuda big sanitize first bench)
for part in "${parts[@]}"; do
    case $part in
    build)
        build
        [ $failed -eq 0 ] || break # the rest would test something else
        ;;
    table | cuda | big | sanitize | first | profile | bench) "$part" ;;
    *)
        echo "unknown part: $part" >&2
        exit 2
        ;;
    esac
done
echo
cat "$summary"
exit $failed
