# SPDX-License-Identifier: Apache-2.0
# Source this, like a ROS setup.bash: then `face_tracking`, the nodes' executables and pytest work.
#
#   source scripts/env.sh
#
# bash, zsh and other POSIX shells (the latter from the repository's root). scripts/setup.sh makes
# what it activates.

if [ -n "${BASH_SOURCE:-}" ]; then
  _ft_here=$(dirname "${BASH_SOURCE}")
elif [ -n "${ZSH_VERSION:-}" ]; then
  _ft_here=$(dirname "${(%):-%x}")
else
  _ft_here=scripts
fi
FACE_TRACKING_ROOT=$(cd "$_ft_here/.." && pwd)
unset _ft_here

if [ ! -f "$FACE_TRACKING_ROOT/.venv/.set-up" ]; then
  echo "face_tracking: not set up yet: run $FACE_TRACKING_ROOT/scripts/setup.sh first" >&2
  return 1 2>/dev/null || exit 1
fi

# Puts $2 in front of the colon-separated list called $1, unless it is in it.
_ft_prepend() {
  eval "_ft_list=\${$1:-}"
  case ":$_ft_list:" in
    *":$2:"*) ;;
    *) export "$1=$2${_ft_list:+:$_ft_list}" ;;
  esac
  unset _ft_list
}

_ft_venv=$FACE_TRACKING_ROOT/.venv
_ft_prepend PATH "$_ft_venv/bin"
if [ -d "$_ft_venv/share/rclpy" ]; then
  # The ROS wheels: the environment is itself a prefix, and the overlay lies on top. Their
  # bootstrapper would start every interpreter twice to set LD_LIBRARY_PATH; it is set here.
  _ft_prepend AMENT_PREFIX_PATH "$_ft_venv"
  _ft_prepend AMENT_PREFIX_PATH "$FACE_TRACKING_ROOT/.overlay"
  _ft_prepend CMAKE_PREFIX_PATH "$_ft_venv"
  for _ft_libs in "$_ft_venv"/lib/python3.*/site-packages/ros_*.libs "$_ft_venv/lib" \
      "$FACE_TRACKING_ROOT/.overlay/lib"; do
    [ -d "$_ft_libs" ] && _ft_prepend LD_LIBRARY_PATH "$_ft_libs"
  done
  for _ft_site in "$FACE_TRACKING_ROOT"/.overlay/lib/python3.*/site-packages; do
    [ -d "$_ft_site" ] && _ft_prepend PYTHONPATH "$_ft_site"
  done
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
fi
unset _ft_venv _ft_libs _ft_site
unset -f _ft_prepend
