#!/bin/sh
# Makes .venv: virtual environment, packages, virtual camera. Does only what is not done yet.
# What can't be done is said in one sentence, with what helps, and the exit status is 1.
#
#   tools/setup.sh test   also installs TensorRT-RTX, with which tests build engines; goes on where it can't be had
#
#   PYTHON      interpreter to use (default: the first of python3, python3.13 ... python3.10 that is 3.10 or newer)
#   WHEELHOUSE  folder with packages (`make wheelhouse`): nothing is taken from the network
#   CC          C compiler of the virtual camera (default: cc)
set -u
cd "$(dirname "$0")/.." || exit 1

venv=.venv
stamp=$venv/.setup-done
log=.make-setup.log
camera=tools/virtual_camera/build/virtual_camera.cti
need_mb=1500 # what a fresh .venv, pip's unpacking and the build take at most

say() { printf '%s\n' "setup: $*"; }
fail() {
    printf '%s\n' "setup: $*" >&2
    exit 1
}

# --- Python -------------------------------------------------------------------------------------------
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || fail "there is no program $PYTHON (PYTHON=$PYTHON)."
        new_enough "$PYTHON" || fail "$PYTHON is older than Python 3.10; choose another with PYTHON=python3.x."
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "there is no Python 3.10 or newer; install it (Debian, Ubuntu: sudo apt install python3 python3-venv)" \
        "or name one with PYTHON=..."
}

# --- What has to be true before anything is made ------------------------------------------------------
check_place() {
    [ -w . ] || fail "$(pwd) is not writable for $(id -un); use a copy of your own, made with git clone."
    if [ -e $venv ] && [ ! -w $venv ]; then
        fail "$venv was made by another user; remove it with: sudo rm -rf \"$(pwd)/$venv\""
    fi
    probe=$(mktemp 2>/dev/null) || fail "${TMPDIR:-/tmp} is not writable or full; name another folder with TMPDIR=..."
    rm -f "$probe"
}

check_space() {
    free_mb=$(($(df -Pk . | awk 'NR == 2 {print $4}') / 1024))
    [ "$free_mb" -ge $need_mb ] ||
        fail "$(pwd) has $free_mb MB free and the packages take up to $need_mb MB; make room and try again."
}

check_compiler() {
    compiler=${CC:-cc}
    command -v "${compiler%% *}" >/dev/null 2>&1 ||
        fail "there is no C compiler ($compiler); install it (Debian, Ubuntu: sudo apt install build-essential)."
    command -v make >/dev/null 2>&1 ||
        fail "there is no make; install it (Debian, Ubuntu: sudo apt install build-essential)."
    work=$(mktemp -d) || fail "${TMPDIR:-/tmp} is not writable; name another folder with TMPDIR=..."
    printf '#include <pthread.h>\nint main(void) { return 0; }\n' >"$work/try.c"
    # CC may carry options
    # shellcheck disable=SC2086
    $compiler -pthread -o "$work/try" "$work/try.c" >"$work/log" 2>&1
    status=$?
    reason=$(head -n 1 "$work/log")
    rm -rf "$work"
    [ $status -eq 0 ] || fail "the C compiler ($compiler) does not work: $reason" \
        "(Debian, Ubuntu: sudo apt install build-essential)."
}

# --- Virtual environment and packages -----------------------------------------------------------------
# A power cut or a moved checkout leaves a .venv that only looks alive.
venv_alive() {
    [ -x $venv/bin/python ] && $venv/bin/python -c '
import os, sys
import pip
sys.exit(os.path.realpath(sys.prefix) != os.path.realpath(sys.argv[1]))' $venv >/dev/null 2>&1
}

explain_pip() {
    if grep -qi 'no space left' $log; then
        fail "the disk is full: make room in $(pwd) and ${TMPDIR:-/tmp} and try again."
    elif [ -n "${WHEELHOUSE:-}" ] && grep -qi 'no matching distribution\|could not find a version' $log; then
        fail "WHEELHOUSE=$WHEELHOUSE lacks a package: $(grep -i 'no matching distribution' $log | tail -n 1)" \
            "Make it with the same Python version and machine type: make wheelhouse."
    elif grep -qi 'name resolution\|name or service not known\|new connection\|network is unreachable\|connecttimeout\|connection refused\|timed out' $log; then
        fail "the package index can't be reached: check the network (or proxy: HTTPS_PROXY=...)," \
            "or run 'make wheelhouse' on a computer with network and say make ... WHEELHOUSE=folder here."
    fi
    fail "the packages could not be installed: $(grep -i '^error\|error:' $log | tail -n 1) (all of it: $log)"
}

# pip's own variables, so that its build environments see them too
use_wheelhouse() {
    [ -n "${WHEELHOUSE:-}" ] || return 0
    [ -d "$WHEELHOUSE" ] || fail "there is no folder $WHEELHOUSE (WHEELHOUSE=...)."
    PIP_NO_INDEX=1
    # the variable is split at spaces, which a folder's name may have
    PIP_FIND_LINKS=$(cd "$WHEELHOUSE" && printf 'file://%s' "$(pwd)" | sed 's/ /%20/g')
    export PIP_NO_INDEX PIP_FIND_LINKS
}

install_packages() {
    say "installing packages into $venv (a few minutes the first time)"
    $venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --editable '.[dev]' >$log 2>&1 </dev/null || explain_pip
    $venv/bin/python -m pip check >>$log 2>&1 ||
        fail "packages do not fit together: $($venv/bin/python -m pip check 2>&1 | head -n 1)"
    $venv/bin/python -c 'import inspector.config' 2>>$log ||
        fail "the installed package can't be imported: $(tail -n 1 $log)"
}

make_venv() {
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        fail "$python lacks the venv module; install it (Debian, Ubuntu: sudo apt install python3-venv)."
    check_space
    say "making $venv with $("$python" --version 2>&1)"
    rm -rf $venv
    "$python" -m venv $venv >$log 2>&1 || fail "$venv can't be made: $(tail -n 1 $log)"
}

# What the packages depend on; another value means another set-up.
fingerprint() {
    cat pyproject.toml tools/setup.sh | cksum
    pwd -P
}

# Is .venv made with the Python that was asked for, if one was?
right_python() {
    [ -z "${PYTHON:-}" ] && return
    version='import sys; print(sys.version_info[:2])'
    [ "$("$PYTHON" -c "$version" 2>&1)" = "$($venv/bin/python -c "$version")" ]
}

# --- Virtual camera -----------------------------------------------------------------------------------
camera_loads() { $venv/bin/python -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$(pwd)/$camera" >/dev/null 2>&1; }

make_camera() {
    make -s -q -C tools/virtual_camera >/dev/null 2>&1 && camera_loads && return
    check_compiler
    say "compiling the virtual camera"
    make -s -C tools/virtual_camera >$log 2>&1 ||
        fail "the virtual camera can't be compiled: $(grep -i 'error' $log | head -n 1) (all of it: $log)"
    camera_loads && return
    # cut off by a power loss, or built on another kind of machine
    make -s -B -C tools/virtual_camera >$log 2>&1
    camera_loads || fail "the virtual camera was compiled but can't be loaded; see $log"
}

# Builds engines without a GPU; there are machines and Python versions without a wheel of it.
make_rtx() {
    $venv/bin/python -c 'import tensorrt_rtx' >/dev/null 2>&1 && return
    say "installing TensorRT-RTX for the tests that build engines (230 MB)"
    $venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --editable '.[rtx]' >$log 2>&1 </dev/null && return
    say "TensorRT-RTX can't be installed here; the tests that need it are skipped"
}

main() {
    wanted=$(fingerprint)
    use_wheelhouse
    if [ "$(cat $stamp 2>/dev/null)" != "$wanted" ] || ! venv_alive || ! right_python; then
        check_place
        python=$(find_python) || exit 1
        check_compiler # said now, not after minutes of installing
        if ! venv_alive || ! right_python; then
            make_venv
        fi
        rm -f $stamp
        install_packages
        sync -f $venv 2>/dev/null || : # the stamp must not reach the disk before what it vouches for
        printf '%s\n' "$wanted" >$stamp || fail "$stamp can't be written: is the disk full?"
    fi
    make_camera
    [ "${1:-}" != test ] || make_rtx
    rm -f $log
}

main "$@"
