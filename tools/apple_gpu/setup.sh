#!/bin/sh
# Builds what tools/apple_gpu needs, from Debian packages alone: a Debian trixie root in FOLDER (which must not
# exist) with clang 19, the SPIR-V translator and asahi_clc, Mesa's compiler for Apple's GPUs, from Debian's
# source package. As root; needs debootstrap; about 12 minutes on two cores, 2.6 GB.
#
#   tools/apple_gpu/setup.sh FOLDER [MIRROR]
set -e
at=${1:?FOLDER, where the root is made}
mirror=${2:-http://deb.debian.org/debian}
if [ -e "$at" ]; then
    echo "$at: exists" >&2
    exit 1
fi
mkdir -p "$at"
debootstrap --variant=minbase trixie "$at" "$mirror"
echo "deb-src $mirror trixie main" >>"$at/etc/apt/sources.list"
mount -t proc proc "$at/proc"
trap 'umount "$at/proc"' EXIT
chroot "$at" sh -ex <<'INSIDE'
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends dpkg-dev xz-utils meson ninja-build gcc g++ python3-mako \
    python3-yaml python3-packaging python3-ply bison flex pkgconf libdrm-dev libexpat1-dev zlib1g-dev \
    libzstd-dev libelf-dev libudev-dev llvm-19-dev libclang-19-dev clang-19 libllvmspirvlib-19-dev \
    libclc-19-dev libclc-19 spirv-tools llvm-spirv-19 glslang-tools
mkdir /mesa && cd /mesa
apt-get source -q --download-only mesa
tar xf mesa_*.orig.tar.xz
meson setup build mesa-* --buildtype=plain -Doptimization=0 -Ddebug=false -Dvulkan-drivers=asahi -Dtools=asahi \
    -Dgallium-drivers= -Dplatforms= -Dopengl=false -Dgles1=disabled -Dgles2=disabled -Dglx=disabled \
    -Degl=disabled -Dgbm=disabled -Dvideo-codecs= -Dllvm=enabled -Dshared-llvm=enabled -Dmesa-clc=enabled \
    -Dvalgrind=disabled -Dlibunwind=disabled -Dbuild-tests=false -Dzstd=enabled -Dgallium-vdpau=disabled \
    -Dgallium-va=disabled -Dgallium-xa=disabled -Dlmsensors=disabled
ninja -C build src/asahi/clc/asahi_clc
INSIDE
