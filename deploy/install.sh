#!/bin/sh
# Installs Inspector on a station: packages, users, configuration, services. Run again to update or to repair:
# it does what is not done yet and never overwrites what belongs to the site (/etc/inspector, the broker's users).
#
#   sudo sh deploy/install.sh [--dry-run] [--root DIR] [--terminal TTY] [--without-packages] [WHEELHOUSE]
#
#   WHEELHOUSE          folder made by `make wheelhouse`: nothing is taken from the network
#   --dry-run           say what would be done, do nothing
#   --root DIR          install below DIR: no users, no services, no need to be root
#   --terminal TTY      the operator's terminal on this console, tty1 for example (takes it from the login prompt)
#   --without-packages  all but the packages
#   PYTHON=python3.x    the Python to use (3.10 or newer)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$here")
root='' wheelhouse='' terminal='' dry='' packages=yes

say() { printf '%s\n' "install: $*"; }
fail() {
    printf '%s\n' "install: $*" >&2
    exit 1
}
do_() { # a step that changes something
    if [ -n "$dry" ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=yes ;;
    --without-packages) packages='' ;;
    --root | --terminal)
        [ $# -ge 2 ] || fail "$1 wants a value"
        if [ "$1" = --root ]; then root=$2; else terminal=$2; fi
        shift
        ;;
    -h | --help)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    -*) fail "unknown option $1 (try --help)" ;;
    *) wheelhouse=$1 ;;
    esac
    shift
done

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$project/pyproject.toml" 2>/dev/null) || true
[ -n "$version" ] || fail "$project is not a checkout of the project: it has no pyproject.toml with a version"
case $terminal in
*[!a-zA-Z0-9]*) fail "--terminal: found $terminal, allowed: a console like tty1 or ttyS0" ;;
esac
if [ -n "$wheelhouse" ]; then
    [ -d "$wheelhouse" ] || fail "there is no folder $wheelhouse"
    wheelhouse=$(cd "$wheelhouse" && pwd)
    [ -n "$(find "$wheelhouse" -name "inspector-$version-*.whl")" ] ||
        fail "$wheelhouse has no inspector-$version-*.whl; make it from this checkout: make wheelhouse"
fi
if [ -n "$root" ]; then
    [ -n "$dry" ] || mkdir -p "$root"
    [ ! -d "$root" ] || root=$(cd "$root" && pwd)
elif [ -z "$dry" ] && [ "$(id -u)" -ne 0 ]; then
    fail "run it as root: sudo sh $0"
fi

# --- helpers ------------------------------------------------------------------------------------------
folder() { # folder PATH MODE [OWNER:GROUP]
    [ -d "$root$1" ] && return
    say "folder $1"
    do_ mkdir -p "$root$1"
    do_ chmod "$2" "$root$1"
    owner "$1" "${3:-root:root}"
}
owner() { # owner PATH OWNER:GROUP
    [ -n "$root" ] || do_ chown -R "$2" "$1"
}
ours() { # ours SOURCE PATH: a file of the project, replaced when it differs
    if [ -f "$root$2" ] && cmp -s "$here/$1" "$root$2"; then return; fi
    say "$2"
    do_ mkdir -p "$root$(dirname "$2")"
    do_ cp "$here/$1" "$root$2.new"
    do_ chmod 0644 "$root$2.new"
    do_ mv -f "$root$2.new" "$root$2"
}
secret() { head -c 18 /dev/urandom | base64; }

# --- users --------------------------------------------------------------------------------------------
user() { # user NAME HOME COMMENT: a system user with a group of its own
    getent passwd "$1" >/dev/null && return
    say "user $1"
    do_ useradd --system --user-group --home-dir "$2" --no-create-home --shell /usr/sbin/nologin --comment "$3" "$1"
}
make_users() {
    user inspector /var/lib/inspector 'Inspector station'
    user inspector-view /nonexistent 'Inspector operator terminal'
    for group in video render plugdev; do # GPU, GPU, USB3 cameras
        getent group $group >/dev/null || continue
        id -nG inspector 2>/dev/null | grep -qw $group && continue
        say "user inspector joins the group $group"
        do_ usermod --append --groups $group inspector
    done
}

# --- packages: one folder a version, and `current` names the one that runs ------------------------------
find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "there is no Python 3.10 or newer with its venv module: sudo apt install python3 python3-venv"
}
install_packages() {
    release=$root/opt/inspector/releases/$version
    if [ -f "$release/.complete" ]; then
        say "version $version is there (another build of it? remove $release first)"
    else
        python=$(find_python) || exit 1
        site=''
        # TensorRT for Python is a package of JetPack's, outside of any virtual environment
        [ ! -f /etc/nv_tegra_release ] || site=--system-site-packages
        say "packages into $release"
        do_ rm -rf "$release"
        do_ mkdir -p "$(dirname "$release")"
        # shellcheck disable=SC2086
        do_ "$python" -m venv $site "$release"
        if [ -n "$wheelhouse" ]; then
            do_ "$release/bin/python" -m pip install --quiet --disable-pip-version-check --no-index \
                --find-links "$wheelhouse" "inspector==$version"
        else
            do_ "$release/bin/python" -m pip install --quiet --disable-pip-version-check "$project"
        fi
        do_ "$release/bin/python" -m compileall -q "$release/lib" || true # the service can't write there
        do_ touch "$release/.complete"
    fi
    if [ "$(readlink "$root/opt/inspector/current" 2>/dev/null)" != "releases/$version" ]; then
        say "/opt/inspector/current is version $version now"
        do_ ln -sfn "releases/$version" "$root/opt/inspector/current.new"
        do_ mv -fT "$root/opt/inspector/current.new" "$root/opt/inspector/current"
    fi
    folder /usr/local/bin 0755
    [ -L "$root/usr/local/bin/inspector" ] ||
        do_ ln -s /opt/inspector/current/bin/inspector "$root/usr/local/bin/inspector"
}

# --- what belongs to the site: copied once, never overwritten ---------------------------------------------
copy_configuration() {
    folder /etc/inspector 0750 root:inspector
    for part in firmware_config recipes; do
        [ -e "$root/etc/inspector/$part" ] && continue
        say "/etc/inspector/$part, to be adapted to this site"
        do_ rm -rf "$root/etc/inspector/$part.new" # of a run that was cut off
        do_ cp -R "$project/$part" "$root/etc/inspector/$part.new"
        do_ chmod -R u=rwX,g=rX,o= "$root/etc/inspector/$part.new"
        owner "/etc/inspector/$part.new" root:inspector
        do_ mv "$root/etc/inspector/$part.new" "$root/etc/inspector/$part"
    done
    if [ ! -e "$root/etc/inspector/environment" ]; then
        say "/etc/inspector/environment"
        [ -n "$dry" ] || printf '%s\n' '# Where your camera maker installed its GenTL producer (.cti):' \
            '#GENICAM_GENTL64_PATH=/opt/vendor/lib' >"$root/etc/inspector/environment"
    fi
}

# --- the broker on this machine, when there is one --------------------------------------------------------
set_up_broker() {
    if [ ! -d "$root/etc/mosquitto" ]; then
        say "no mosquitto here: give the broker's address in station.yaml (or apt install mosquitto, and run this again)"
        return
    fi
    command -v mosquitto_passwd >/dev/null || fail "/etc/mosquitto is there but mosquitto_passwd is not"
    ours mosquitto/inspector.conf /etc/mosquitto/conf.d/inspector.conf
    ours systemd/mosquitto.service.d/inspector.conf /etc/systemd/system/mosquitto.service.d/inspector.conf
    if [ ! -e "$root/etc/mosquitto/inspector.acl" ]; then
        say "/etc/mosquitto/inspector.acl, for line1/top"
        do_ cp "$here/mosquitto/inspector.acl" "$root/etc/mosquitto/inspector.acl"
        do_ chmod 0640 "$root/etc/mosquitto/inspector.acl"
        owner /etc/mosquitto/inspector.acl root:mosquitto
    fi
    [ ! -e "$root/etc/mosquitto/inspector.passwd" ] || return 0
    say "passwords for the broker's users; the PLC's and the MES's are in /etc/inspector/broker-passwords"
    [ -z "$dry" ] || return 0
    (
        umask 077
        secret >"$root/etc/inspector/mqtt.password"
        {
            printf 'plc-line1-top:%s\n' "$(secret)"
            printf 'mes:%s\n' "$(secret)"
        } >"$root/etc/inspector/broker-passwords"
        {
            printf 'station-line1-top:%s\n' "$(cat "$root/etc/inspector/mqtt.password")"
            cat "$root/etc/inspector/broker-passwords"
        } >"$root/etc/mosquitto/inspector.passwd.new"
        mosquitto_passwd -U "$root/etc/mosquitto/inspector.passwd.new"
    )
    chmod 0640 "$root/etc/inspector/mqtt.password" "$root/etc/mosquitto/inspector.passwd.new"
    owner /etc/inspector/mqtt.password root:inspector
    owner /etc/mosquitto/inspector.passwd.new root:mosquitto
    station=$root/etc/inspector/firmware_config/station.yaml
    if ! grep -q '^ *username:' "$station"; then
        sed -i 's|^plc:$|&\n  username: station-line1-top\n  password_file: ../mqtt.password|' "$station"
        owner /etc/inspector/firmware_config/station.yaml root:inspector
    fi
    # last, because its presence says that all of the above is done
    mv "$root/etc/mosquitto/inspector.passwd.new" "$root/etc/mosquitto/inspector.passwd"
}

# --- what the system has to know --------------------------------------------------------------------------
copy_system_files() {
    ours systemd/inspector.service /etc/systemd/system/inspector.service
    ours systemd/inspector-terminal@.service /etc/systemd/system/inspector-terminal@.service
    ours sysctl/90-inspector-gige.conf /etc/sysctl.d/90-inspector-gige.conf
    ours udev/90-inspector-usb3vision.rules /etc/udev/rules.d/90-inspector-usb3vision.rules
    ours udev/90-inspector-cpu.rules /etc/udev/rules.d/90-inspector-cpu.rules
    ours tmpfiles/inspector-usbfs.conf /etc/tmpfiles.d/inspector-usbfs.conf
    ours journald/inspector.conf /etc/systemd/journald.conf.d/inspector.conf
    ours README.md /opt/inspector/deploy/README.md
    ours JETSON.md /opt/inspector/deploy/JETSON.md
}
apply() { # what a container or a chroot can't do is no reason to stop
    do_ "$@" || say "did not work, see above: $*"
}
start_services() {
    if [ ! -d /run/systemd/system ]; then
        say "systemd does not run here: nothing is enabled"
        return
    fi
    apply systemctl daemon-reload
    apply systemctl enable --quiet inspector.service
    [ -z "$terminal" ] || apply systemctl enable --quiet "inspector-terminal@$terminal.service"
    apply systemctl try-restart systemd-journald.service
    ! systemctl --quiet is-enabled mosquitto.service 2>/dev/null || apply systemctl restart mosquitto.service
    apply sysctl --quiet --system
    apply systemd-tmpfiles --create /etc/tmpfiles.d/inspector-usbfs.conf
    ! command -v udevadm >/dev/null || apply udevadm control --reload
    ! command -v udevadm >/dev/null || apply udevadm trigger --sysname-match=cpu_dma_latency
    if systemctl --quiet is-active inspector.service; then
        say "the old version runs until you say: systemctl restart inspector"
    fi
}

[ -n "$root" ] || make_users
folder /opt/inspector 0755
[ -z "$packages" ] || install_packages
copy_configuration
set_up_broker
copy_system_files
[ -n "$root" ] || start_services
say "done. Next: adapt /etc/inspector/firmware_config/station.yaml, then
  inspector doctor
  systemctl start inspector"
