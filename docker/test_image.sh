#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the Dockerfile without a Docker engine and runs what it built: "make image-test".
#
# The base is Debian with the ROS wheels of dev/requirements-ros.txt, since no registry is asked for
# ros:jazzy-ros-base. So this tries every step of the Dockerfile but the packages of a ROS
# distribution, for this machine's architecture. Needs root, buildah and mmdebstrap.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$PWD/build/image_test
base=localhost/face_tracking_base
image=localhost/face_tracking_test
certificates=/etc/ssl/certs/ca-certificates.crt

unset PIP_FIND_LINKS  # a folder of this machine

skip() { echo "image-test: skipped: $*"; exit 0; }
say() { echo "image-test: $*"; }

[ "$(id -u)" = 0 ] || skip 'it needs root'
for program in buildah mmdebstrap; do
  command -v "$program" > /dev/null || skip "$program is missing (apt install buildah mmdebstrap)"
done
[ -d .overlay ] || skip 'the overlay with vision_msgs is missing (make setup)'

mkdir -p "$work"
options=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
build=(buildah "${options[@]}")
limits=(--isolation chroot --volume "$certificates:$certificates:ro")
for name in PIP_CERT PIP_EXTRA_INDEX_URL PIP_INDEX_URL; do
  if [ -n "${!name:-}" ]; then limits+=(--env "$name=${!name}"); fi
done

make_root() {
  local root=$work/root
  [ -f "$root/.complete" ] && return
  say 'Debian with the ROS wheels (some minutes)'
  rm -rf "$root"
  mmdebstrap --quiet --variant=minbase \
    --include=ca-certificates,python3,python3-venv,python3-pip bookworm "$root"
  cp "$certificates" "$root$certificates"
  cp dev/requirements-ros.txt "$root/tmp/"
  chroot "$root" python3 -m venv /opt/ros_wheels
  # The first block of the file runs nodes, the second builds interfaces.
  chroot "$root" sh -c "sed '/^\$/q' /tmp/requirements-ros.txt > /tmp/run.txt && \
    /opt/ros_wheels/bin/python -m pip install -q --no-cache-dir -r /tmp/run.txt 'numpy<2'"
  cp -a .overlay "$root/opt/ros_wheels/overlay"
  touch "$root/.complete"
}

make_base() {
  "${build[@]}" images -q "$base" 2> /dev/null | grep -q . && return
  local container
  container=$("${build[@]}" from scratch)
  "${build[@]}" add -q "$container" "$work/root" / > /dev/null
  "${build[@]}" commit -q --rm "$container" "$base" > /dev/null
}

in_image() {  # runs a command in the container
  "${build[@]}" run --isolation chroot "$container" -- /usr/local/bin/entrypoint.sh "$@"
}

until_says() {  # runs a node in the container until it has logged a word
  # shellcheck disable=SC2016
  in_image bash -c '
    timeout 400 "${@:2}" > /tmp/log 2>&1 &
    while kill -0 $! 2> /dev/null && ! grep -q "$1" /tmp/log; do sleep 0.5; done
    kill $! 2> /dev/null || true
    wait || true
    cat /tmp/log
    grep -q "$1" /tmp/log' bash "$@"
}

make_root
make_base
say 'building docker/Dockerfile'
"${build[@]}" build "${limits[@]}" --format docker --layers=false --build-arg "BASE=$base" \
  --file docker/Dockerfile --tag "$image" .
container=$("${build[@]}" from "$image")
trap '"${build[@]}" rm "$container" > /dev/null' EXIT
say 'the user is not root'
[ "$(in_image id -u)" = 10001 ]
say 'doctor'
in_image doctor --no-cameras || true
say 'a node starts, compiles the detector and follows a scene'
until_says loaded pipeline --ros-args -p camera:=virtual
say 'what acts on faces starts'
until_says 'http://localhost:8080' actions events speech web mqtt rtsp
say 'passed'
