#!/bin/bash
# Everything that `make check` promises, step by step; goes on after a failure and lists all of them.
#   tools/check.sh JOBS [STEP...]       (cmake, ninja, ruff, clang-format, python on PATH)
set -u
cd "$(dirname "$0")/.."
jobs=$1
shift
work=build/check
mkdir -p "$work"

sources() { # what the bare compiler command compiles; in a checkout the kernels' texts are embedded first
    cmake -P cmake/embed_kernels.cmake && ls src/*/*.c src/*/*/*.c
}
need() {
    command -v "$1" >/dev/null && return
    echo "$1 is missing. $2"
    return 1
}

step_lint() { # ruff
    ruff check . && ruff format --check .
}

step_format() { # clang-format
    find include src tests/c tests/fuzz bench python -name '*.[ch]' ! -name kernel_source.c -print0 |
        xargs -0 clang-format --dry-run -Werror
}

step_typing() { # what users write passes mypy --strict, and the stubs are what is installed
    python -m mypy --strict --cache-dir "$work/mypy" tests/typing/usage.py &&
        python -m mypy.stubtest --ignore-missing-stub causal_conv1d_mps.functional \
            causal_conv1d_mps.nn causal_conv1d_mps.dropin causal_conv1d_mps._fuse \
            causal_conv1d_mps._info causal_conv1d_mps._warmup \
            causal_conv1d_mps.compat.fla causal_conv1d_mps.compat.vllm causal_conv1d_mps.compat.sglang
}

step_version() { # one version everywhere
    local version
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
    grep -q "CC1D_VERSION_STRING \"$version\"" include/causal_conv1d.h &&
        grep -q "project(causal_conv1d VERSION $version " CMakeLists.txt &&
        grep -q "^## \[$version\]" CHANGELOG.md ||
        { echo "version $version is not what the header, CMakeLists.txt and CHANGELOG.md say"; return 1; }
}

step_header() { # the public header compiles alone, as C11 and as C++
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c include/causal_conv1d.h &&
        c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ include/causal_conv1d.h
}

step_structure() { # neither headers nor object files need each other in a cycle
    cmake -S . -B "$work/library" -DCC1D_WERROR=ON >"$work/library.log" &&
        cmake --build "$work/library" --parallel "$jobs" --target cc1d_objects >>"$work/library.log" ||
        { cat "$work/library.log"; return 1; }
    find "$work/library" -path '*cc1d_objects.dir*' -name '*.o' -exec python tools/check_structure.py {} +
}

step_bare() { # one bare compiler command builds the library, with every compiler here
    local compiler complete=
    [ "$(uname -s)" != Linux ] || complete=-Wl,--no-undefined
    need clang 'Debian, Ubuntu: apt-get install clang; macOS: xcode-select --install' || return 1
    for compiler in cc clang; do
        $compiler -O2 -ffp-contract=off -fPIC -Wall -Wextra -Werror -shared -Iinclude -Isrc \
            $(sources) -o "$work/libbare-$compiler.so" $complete -lm -lpthread -ldl || return 1
    done
}

step_install() { # cmake --install: symbols, pkg-config and find_package of the installed library
    local prefix=$PWD/$work/prefix bad
    rm -rf "$prefix"
    cmake -S . -B "$work/library" -DCC1D_WERROR=ON -DCMAKE_INSTALL_PREFIX="$prefix" \
        -DCC1D_BUILD_BENCH=ON -DCMAKE_INSTALL_LIBDIR=lib >"$work/library.log" &&
        cmake --build "$work/library" --parallel "$jobs" >>"$work/library.log" &&
        cmake --install "$work/library" >>"$work/library.log" ||
        { cat "$work/library.log"; return 1; }
    bad=$(nm -g "$prefix/lib/libcausal_conv1d.a" 2>/dev/null |
        awk 'NF == 3 && $2 ~ /[A-TV-Z]/ && $3 !~ /^_?cc1d_/ { print $3 }')
    [ -z "$bad" ] || { echo "symbols without the cc1d_ prefix: $bad"; return 1; }
    if [ "$(uname -s)" = Linux ]; then
        sed -n 's/.*\(cc1d_[a-z0-9_]*\)(.*/\1/p' include/causal_conv1d.h | sort -u >"$work/declared"
        nm -D --defined-only "$prefix/lib/libcausal_conv1d.so" | awk '{ print $3 }' |
            sort >"$work/exported"
        bad=$(comm -13 "$work/declared" "$work/exported")
        [ -z "$bad" ] || { echo "exported, but not in the public header: $bad"; return 1; }
    fi
    cat >"$work/user.c" <<'EOF'
#include <causal_conv1d.h>
#include <string.h>
int main(void) {
    return strcmp(cc1d_version(), CC1D_VERSION_STRING);
}
EOF
    if command -v pkg-config >/dev/null; then
        cc "$work/user.c" -o "$work/user" -Wl,-rpath,"$prefix/lib" \
            $(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --cflags --libs causal_conv1d) &&
            "$work/user" || return 1
    else
        echo 'pkg-config is not installed: the .pc file was not tried'
    fi
    mkdir -p "$work/consumer"
    cat >"$work/consumer/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.18)
project(consumer LANGUAGES C)
find_package(causal_conv1d 0.2 REQUIRED)
foreach(kind causal_conv1d static)
  add_executable(user_\${kind} $PWD/$work/user.c)
  target_link_libraries(user_\${kind} PRIVATE causal_conv1d::\${kind})
endforeach()
EOF
    cmake -S "$work/consumer" -B "$work/consumer/build" -DCMAKE_PREFIX_PATH="$prefix" \
        >"$work/consumer.log" && cmake --build "$work/consumer/build" >>"$work/consumer.log" &&
        "$work/consumer/build/user_static" && "$work/consumer/build/user_causal_conv1d" ||
        { cat "$work/consumer.log"; return 1; }
}

step_wheel() { # the wheel: only the package, under 1 MB, no PyTorch header or library
    if grep -rnE '#\s*include.*(torch|ATen|c10)/' include src python; then
        echo 'a PyTorch header is included'
        return 1
    fi
    rm -rf "$work/wheel"
    python -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps \
        --config-settings=build-dir=build/python -w "$work/wheel" . &&
        python tools/check_wheel.py "$work"/wheel/*.whl
}

sanitized() { # sanitized NAME CC1D_SANITIZE [CTEST-ARGUMENT...]: the C tests under these sanitizers
    cmake -S . -B "$work/$1" -DCC1D_BUILD_TESTS=ON -DCC1D_WERROR=ON -DCC1D_SANITIZE="$2" \
        -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 >"$work/$1.log" &&
        cmake --build "$work/$1" --parallel "$jobs" >>"$work/$1.log" ||
        { cat "$work/$1.log"; return 1; }
    # A child after fork() that uses threads is one of the tests.
    UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=die_after_fork=0 ctest --test-dir "$work/$1" \
        --output-on-failure --no-tests=error --parallel "$jobs" "${@:3}"
}

step_asan() { # the C tests under the address and undefined-behaviour sanitizers
    sanitized asan address,undefined
}

step_tsan() { # the C tests under the thread sanitizer
    # test_simd compares arithmetic on one thread, for minutes under this sanitizer.
    sanitized tsan thread --exclude-regex simd
}

step_asan_python() { # the operation tables of the Python tests on a sanitized extension
    local best target=$PWD/$work/python-asan
    if [ "$(uname -s)" != Linux ]; then
        echo 'left out: preloading the sanitizer into Python is only set up for Linux'
        return
    fi
    need gcc 'Debian, Ubuntu: apt-get install gcc' || return 1
    CC=gcc python -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps \
        --config-settings=build-dir=build/python-asan --upgrade --target "$target" \
        --config-settings=cmake.define.CC1D_SANITIZE=address,undefined \
        --config-settings=cmake.build-type=Debug \
        --config-settings=cmake.define.CMAKE_C_FLAGS_DEBUG=-O1 . || return 1
    best=$(python -c 'from causal_conv1d_mps import _C; print(_C.implementations()[0])') || return 1
    # The interpreter and PyTorch keep memory until they exit, so leaks are not looked for here.
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$target" \
        python -m pytest -q -x -p no:cacheprovider -n "$jobs" --backend "cpu-$best" \
        tests/python/test_{forward,backward,update,varlen_states,bad_input}.py
}

step_fuzz() { # every C operation on arbitrary arguments for a minute
    if [ "$(uname -s)" != Linux ]; then
        echo "left out: Apple's clang comes without libFuzzer (make fuzz tries any other clang)"
        return
    fi
    tools/fuzz.sh "$jobs" 60
}

steps=${*:-$(sed -n 's/^step_\([a-z_]*\)().*/\1/p' "$0")}
failed=
for step in $steps; do
    printf '\n== %s: %s\n' "$step" "$(sed -n "s/^step_$step() { # //p" "$0")"
    started=$SECONDS
    if "step_$step"; then
        echo "   ok ($((SECONDS - started)) s)"
    else
        echo "   FAILED"
        failed+=" $step"
    fi
done
if [ -n "$failed" ]; then
    printf '\nmake check: failed:%s   (one step alone: tools/check.sh %s STEP)\n' "$failed" "$jobs"
    exit 1
fi
printf '\nmake check: all steps passed\n'
