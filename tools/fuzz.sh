#!/bin/bash
# Build the fuzzers of tests/fuzz and run each for a while, starting from its corpus; new inputs go to
# build/fuzz/corpus. A failure leaves its input in build/fuzz/crashes and prints the line that repeats it.
#   tools/fuzz.sh JOBS SECONDS [OPERATION...]        (cmake and clang on PATH)
set -u
cd "$(dirname "$0")/.."
jobs=$1
seconds=$2
shift 2
operations=${*:-forward prefill backward update ragged varlen_states}
build=build/fuzz

command -v clang >/dev/null && echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
    clang -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null || {
    echo 'no clang with libFuzzer here. Debian, Ubuntu: apt-get install clang libclang-rt-dev; macOS: brew install llvm'
    exit 1
}
mkdir -p "$build/crashes"
cmake -S . -B "$build" -DCMAKE_C_COMPILER=clang -DCC1D_BUILD_FUZZERS=ON -DCC1D_WERROR=ON \
    -DCC1D_SANITIZE=fuzzer-no-link,address,undefined -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_C_FLAGS_DEBUG=-O1 >"$build/build.log" 2>&1 &&
    cmake --build "$build" --target fuzzers --parallel "$jobs" >>"$build/build.log" 2>&1 ||
    { cat "$build/build.log"; exit 1; }

fuzz() { # fuzz OPERATION
    local program=$build/fuzz_$1 crashes=$build/crashes/$1- log=$build/$1.log input
    mkdir -p "$build/corpus/$1"
    if UBSAN_OPTIONS=print_stacktrace=1 "$program" -max_total_time="$seconds" -max_len=400 -len_control=0 -timeout=25 \
        -print_final_stats=1 -artifact_prefix="$crashes" "$build/corpus/$1" "tests/fuzz/corpus/$1" \
        >"$log" 2>&1; then
        echo "$1: $(sed -n 's/^stat::number_of_executed_units: //p' "$log") inputs, no failure"
        return
    fi
    tail -n 60 "$log"
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    echo "$1: failed. To repeat it: $program $input"
    return 1
}

failed=0 running=0
for operation in $operations; do
    fuzz "$operation" &
    running=$((running + 1))
    if [ "$running" -ge "$jobs" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
exit $failed
