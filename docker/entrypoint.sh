#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command of the container: a node (pipeline, actions, ...), "launch FILE ARGUMENTS", a command
# of face_tracking, or any other program.
set -eo pipefail
target=/opt/face_tracking

for setup in /opt/ros/*/setup.bash; do
  # shellcheck disable=SC1090
  if [ -f "$setup" ]; then source "$setup"; fi
done
export PATH="$target/bin:$target/lib/face_tracking:$PATH"
export AMENT_PREFIX_PATH="$target${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
if [ -d "$target/overlay" ]; then
  # The ROS wheels instead of a distribution.
  libraries=$(find "$target/lib" -maxdepth 3 -type d -name 'ros_*.libs' -printf '%p:')
  export AMENT_PREFIX_PATH="$target/overlay:$AMENT_PREFIX_PATH"
  export LD_LIBRARY_PATH="$libraries$target/lib:$target/overlay/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  for site in "$target"/overlay/lib/python3.*/site-packages; do
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
  done
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
fi

case "${1:-}" in
  launch)
    shift
    exec ros2 launch face_tracking "$@"
    ;;
  *)
    if command -v "${1:-}" > /dev/null; then
      exec "$@"
    fi
    exec face_tracking "$@"
    ;;
esac
