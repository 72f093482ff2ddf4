#!/bin/sh
# Build and run tests/c: natively, and for arm64 under qemu where the tools are installed.
#   tools/test_c.sh JOBS        (a C compiler; cmake and ctest from PATH, else from pip into build/cmake)
set -eu
cd "$(dirname "$0")/.."
jobs=$1

if ! { cmake --version && ctest --version; } >/dev/null 2>&1; then
    [ -x build/cmake/bin/ctest ] || { python3 -m venv build/cmake && build/cmake/bin/pip install --quiet cmake; }
    PATH=$PWD/build/cmake/bin:$PATH
fi

failed=

# build_and_run DIRECTORY [CMAKE-ARGUMENT...]
build_and_run() {
    directory=$1
    shift
    if cmake -S . -B "$directory" -DCC1D_BUILD_TESTS=ON -DCMAKE_BUILD_TYPE=Debug \
        -DCMAKE_C_FLAGS_DEBUG='-O2 -g' "$@" >"$directory.log" 2>&1 &&
        cmake --build "$directory" --parallel "$jobs" >>"$directory.log" 2>&1; then
        ctest --test-dir "$directory" --output-on-failure --no-tests=error --parallel "$jobs" ||
            failed="$failed $directory"
    else
        cat "$directory.log"
        failed="$failed $directory"
    fi
}

mkdir -p build
echo "== C tests, $(uname -m)"
build_and_run build/tests

if [ "$(uname -s)" = Linux ] && [ "$(uname -m)" != aarch64 ]; then
    if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null; then
        echo '== C tests, arm64 (NEON) under qemu'
        export CC1D_TEST_EMULATED=1
        build_and_run build/tests-arm64 -DCMAKE_SYSTEM_NAME=Linux \
            -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc \
            '-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu'
    else
        echo '== C tests, arm64: left out (Debian, Ubuntu: apt-get install qemu-user' \
            'gcc-aarch64-linux-gnu libc6-dev-arm64-cross)'
    fi
fi
[ -z "$failed" ] || { echo "C tests failed:$failed"; exit 1; }
