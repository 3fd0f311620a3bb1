#!/usr/bin/env bash
# Runs the README's two commands where nothing happens to be installed: makes a minimal Debian in a temp folder, with make and
# Python and no more, copies a clean clone of HEAD into it, and runs `make demo` and `make test` there.
#
# The machine has namespaces of its own for mounts and processes: when it ends, in whatever way, so do all its processes and
# mounts, before its folder is removed from outside, where nothing was ever mounted.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: scripts/fresh-machine.sh [--user] [--suite NAME] [--or-here] [--keep] [COMMAND ...]

  --user      run the commands as an ordinary user without apt, where SLURM and Chromium are missing; an administrator has
              installed what setup.sh asks for: sox and python3-venv
  --suite NAME
              another release of Debian than the one that runs here, such as trixie, from the same mirror
  --or-here   where no such machine can be made, run the commands outside of it, in this checkout
  --keep      leave the machine's folder, and say how to remove it
  COMMAND     what to run in the clone instead of 'make demo' and 'make test', one argument each
  -h, --help  show this text

Needs root, apt-get with Debian's packages, and the right to mount and to chroot.
Status: 0 all commands ended well, 1 one did not, 2 wrong usage, 3 no such machine can be made here.
TEXT
}

say() { printf 'fresh-machine: %s\n' "$*"; }
cannot() {
    cat >&2 <<TEXT
#############################################################################
  NO FRESH MACHINE CAN BE MADE HERE: $*
  $([ "$or_here" = yes ] && echo "RUNNING IN THIS CHECKOUT INSTEAD" || echo "NOTHING WAS RUN; in this checkout, you can run"): $(printf '%s; ' "${commands[@]}")
#############################################################################
TEXT
    [ "$or_here" = yes ] || exit 3
    local command status=0
    for command in "${commands[@]}"; do
        bash -c "$command" || status=1
    done
    exit "$status"
}

user=root suite="" or_here=no keep=no commands=()
while [ $# -gt 0 ]; do
    case $1 in
        --user) user=visitor ;;
        --suite)
            [[ ${2:-} =~ ^[a-z]+$ ]] || { printf 'fresh-machine: --suite needs the name of a release, such as trixie\n' >&2 && exit 2; }
            suite=$2
            shift
            ;;
        --or-here) or_here=yes ;;
        --keep) keep=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*)
            printf 'fresh-machine: unknown argument: %s\n' "$1" >&2
            usage >&2
            exit 2
            ;;
        *) commands+=("$1") ;;
    esac
    shift
done
[ "${#commands[@]}" -gt 0 ] || commands=("make demo" "make test")

cd "$(dirname "${BASH_SOURCE[0]}")/.."
project=$PWD

# --- what it takes

[ "$(id -u)" = 0 ] || cannot "that takes root"
command -v apt-get >/dev/null || cannot "there is no apt-get to get its packages with"
command -v git >/dev/null || cannot "there is no git to make a clean clone with"
git rev-parse -q --verify HEAD >/dev/null || cannot "git does not see a commit in $project"
own_namespaces=(unshare --mount --pid --uts --ipc --fork --kill-child --propagation private)
why=$("${own_namespaces[@]}" sh -c 'mount -t tmpfs tmpfs /mnt && chroot / true' 2>&1) ||
    cannot "no right to mount or to enter a folder (${why:-unshare fails})"

if ! command -v debootstrap >/dev/null; then
    say "apt-get install debootstrap"
    apt-get update -qq </dev/null >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap </dev/null >/dev/null ||
        cannot "debootstrap is missing, and apt-get cannot install it"
fi

# The release that runs here, from where apt gets it here; another one from the same place.
# shellcheck source=/dev/null
here=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016  # these are apt's
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$here //p;T;q")
[ -n "$here" ] && [ -n "$mirror" ] || cannot "apt-get does not say where it gets the packages of '$here'"
: "${suite:=$here}"

# --- its life

temp=$(mktemp -d "${TMPDIR:-/tmp}/fresh-machine.XXXXXX") # for this user alone: settings may hold passwords
root=$temp/root
machine=""
remove() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP # a second Ctrl-C must not leave half of it
    if [ -n "$machine" ]; then
        kill -KILL "$machine" 2>/dev/null || true # and with it all processes and mounts of its namespaces
        wait "$machine" 2>/dev/null || true
    fi
    if [ "$keep" = yes ]; then
        say "kept; to remove it: rm -r --one-file-system $temp"
    else
        rm -rf --one-file-system -- "$temp"
    fi
    exit "$status"
}
trap remove EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In the background, so that a signal is acted on at once; with job control, since bash makes what it starts in the background
# ignore SIGINT otherwise, and what is tested would inherit that.
apart() {
    local status=0
    set -m
    "$@" </dev/null &
    machine=$!
    set +m
    wait "$machine" || status=$?
    machine=""
    return "$status"
}

# enter USER COMMAND ...: with nothing of this environment but what package clients need, and that on no command line, which
# all users of this machine can read. Runs in the namespaces.
enter() {
    local as=() home=/root name
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys" # with control groups as they are mounted here: SLURM refuses any other view of them
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    for name in null zero full random urandom tty; do
        touch "$root/dev/$name"
        mount --bind "/dev/$name" "$root/dev/$name"
    done
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s /proc/self/fd/0 "$root/dev/stdin"
    ln -s /proc/self/fd/1 "$root/dev/stdout"
    ln -s /proc/self/fd/2 "$root/dev/stderr"
    for name in "${folders[@]}"; do
        mkdir -p "$root$name"
        mount --bind "$name" "$root$name"
        mount -o remount,bind,ro "$root$name"
    done
    hostname fresh
    if [ "$1" != root ]; then
        as=(setpriv --reuid="$1" --regid="$1" --init-groups --)
        home=/home/$1
    fi
    shift
    for name in $(compgen -e); do
        unset "$name" 2>/dev/null || true # some are read-only
    done
    export "${clients[@]}" HOME="$home" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    exec chroot "$root" "${as[@]}" "$@"
}

in_machine() {
    { declare -p root folders clients && declare -f enter; } >"$temp/enter"
    # shellcheck disable=SC2016  # expanded there
    apart "${own_namespaces[@]}" bash -euo pipefail -c '. "$0"; enter "$@"' "$temp/enter" "$@"
}

# --- make it

began=$SECONDS
say "a minimal Debian $suite in $root"
# In the namespaces too: it mounts, and is not always allowed to unmount.
# shellcheck disable=SC2016  # expanded there
if ! apart "${own_namespaces[@]}" bash -c 'mount -t proc proc /proc && exec debootstrap "$@" >"$0" 2>&1' "$temp/debootstrap.log" \
    --variant=minbase --include=make,python3,ca-certificates "$suite" "$root" "$mirror"; then
    tail -n 15 "$temp/debootstrap.log" >&2
    cannot "debootstrap failed, see above"
fi
say "debootstrap: $((SECONDS - began)) s"

# Package clients as here: their files, the folders and files that these name, their variables.
home=/root
[ "$user" = root ] || home=/home/$user
mkdir -p "$root$home"
rm -f "$root/etc/apt/sources.list"
cp -a /etc/apt/. "$root/etc/apt/"
if [ "$suite" != "$here" ]; then
    find "$root/etc/apt" \( -name '*.list' -o -name '*.sources' \) -exec sed -i -E "s/(^|[[:space:]])$here\>/\1$suite/g" {} +
fi
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
clients=()
while IFS= read -r -d '' variable; do
    case $variable in
        PIP_* | SSL_CERT_* | REQUESTS_CA_BUNDLE=* | CURL_CA_BUNDLE=* | http_proxy=* | https_proxy=* | no_proxy=* | HTTP_PROXY=* | \
            HTTPS_PROXY=* | NO_PROXY=*) clients+=("$variable") ;;
        CI=*) [ "$user" != root ] || clients+=("$variable") ;; # where SLURM's tests may not be skipped
    esac
done < <(env -0)
settings=(/etc/apt/sources.list /etc/apt/sources.list.d/*)
for file in /etc/pip.conf "${XDG_CONFIG_HOME:-${HOME:-/root}/.config}/pip/pip.conf" "${HOME:-/root}/.pip/pip.conf"; do
    [ -r "$file" ] || continue
    settings+=("$file")
    mkdir -p "$root$home/.config/pip"
    case $file in
        /etc/*) cp -p "$file" "$root$file" ;;
        *) cat "$file" >>"$root$home/.config/pip/pip.conf" ;;
    esac
done
folders=()
while IFS= read -r path; do
    if [ -f "$path" ] || { [[ $path == /etc/* ]] && [ -d "$path" ]; }; then
        mkdir -p "$root${path%/*}"
        cp -rL "$path" "$root${path%/*}/" || say "not all of $path can be read" >&2 # a dangling link
    elif [ -d "$path" ]; then
        parent=${path%/*} # an index may name files beside it
        [[ $parent == /*/* ]] && folders+=("$parent") || folders+=("$path")
    fi
done < <({ cat -- "${settings[@]}" 2>/dev/null && printf '%s\n' "${clients[@]}"; } | grep -oE '(^|[=: ,]|file://)/[^ ,:=]+' |
    sed -E 's,^(file://|[=: ]),,' | sort -u)

# --- run the commands in it

say "a clean clone of $(git rev-parse --short HEAD)"
[ -z "$(git status --porcelain)" ] || say "WHAT IS NOT COMMITTED HERE IS NOT IN IT" >&2
git clone --quiet --no-hardlinks -- "$project" "$root$home/audioset-batch"
git -C "$root$home/audioset-batch" -c advice.detachedHead=false checkout --quiet "$(git rev-parse HEAD)"
if [ "$user" != root ]; then
    in_machine root sh -ec "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq sox python3-venv >/dev/null
        useradd --shell /bin/bash --home-dir '$home' '$user'; chown -R '$user:$user' '$home'"
fi

status=0
# shellcheck disable=SC2016  # expanded there
in_machine "$user" bash -u -o pipefail -c '
    cd ~/audioset-batch
    status=0
    for command in "$@"; do
        began=$SECONDS
        said=well
        bash -c "$command" 2>&1 | tee -a /tmp/said.log || { said=FAILED; status=1; }
        echo "fresh-machine: $command: $said, $((SECONDS - began)) s"
    done
    exit "$status"' bash "${commands[@]}" || status=$?
if skipped=$(grep -hs '^SKIPPED' "$root/tmp/said.log"); then
    cat <<TEXT
#############################################################################
  NOT TESTED IN THIS MACHINE, by $user:
$skipped
#############################################################################
TEXT
fi
say "$([ "$status" = 0 ] && echo "all well" || echo "FAILED") after $((SECONDS - began)) s"
[ "$status" = 0 ] || exit 1
