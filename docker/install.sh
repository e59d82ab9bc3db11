#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The steps of the Dockerfile:
#
#   install.sh system     packages that building needs
#   install.sh python     a virtual environment in /opt/face_tracking with the pinned packages
#   install.sh package    face_tracking itself
#   install.sh runtime    packages that running needs
#
# With a ROS distribution below /opt/ros, its packages are used. Without one, the environment must
# hold the ROS wheels: then /opt/ros_wheels of the base image is copied, overlay included.
set -euo pipefail
target=/opt/face_tracking
wheels=/opt/ros_wheels

distribution() {
  local found
  found=$(find /opt/ros -mindepth 1 -maxdepth 1 -type d -printf '%f\n' 2>/dev/null | sort | tail -n 1)
  echo "${found}"
}

install() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
}

ros_packages() {
  local ros
  ros=$(distribution)
  if [ -n "$ros" ]; then
    echo "ros-$ros-cv-bridge ros-$ros-vision-msgs ros-$ros-diagnostic-msgs ros-$ros-launch-ros"
    echo "ros-$ros-ros2launch ros-$ros-robot-state-publisher ros-$ros-tf2-ros"
    echo "ros-$ros-trajectory-msgs ros-$ros-visualization-msgs"
  fi
}

case "$1" in
  system)
    # shellcheck disable=SC2046  # a list of packages
    install python3-venv python3-pip $(ros_packages)
    ;;
  python)
    if [ -n "$(distribution)" ]; then
      python3 -m venv --system-site-packages "$target"
    else
      cp -a "$wheels" "$target"
    fi
    "$target/bin/python" -m pip install --no-cache-dir --disable-pip-version-check -q \
      setuptools==79.0.1 smbus2==0.6.1 -r /src/requirements.txt -r /src/requirements-actions.txt
    ;;
  package)
    cd /src/face_tracking
    "$target/bin/python" -m pip install --no-cache-dir --disable-pip-version-check -q \
      --no-deps --no-build-isolation .
    ;;
  runtime)
    # shellcheck disable=SC2046
    # gcc links the networks that TVM compiles at the first start.
    install gcc libc6-dev espeak-ng alsa-utils python3-gi gir1.2-gst-rtsp-server-1.0 \
      gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly libgl1 libglib2.0-0 $(ros_packages)
    ;;
  *)
    echo "install.sh: step $1 is not one of system, python, package, runtime" >&2
    exit 2
    ;;
esac
