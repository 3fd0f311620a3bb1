#!/usr/bin/env bash
# Makes the environment that the job scripts, `make` and download_subset_files.sh use: a virtual environment in .venv with this
# package (editable: what you pull or change here holds at once) and everything it needs, at the versions of constraints.txt.
# Needs no root. Quick when nothing is to be done, and then without network.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ./setup.sh [--with EXTRA,...] [--require-sox] [--python PROGRAM]
       ./setup.sh --update-yt-dlp

  --with EXTRA,...   also install extras of pyproject.toml: test, learn, javascript, webdataset
  --require-sox      end with status 1 when sox cannot be had (otherwise: name the command that gets it, and go on)
  --python PROGRAM   the Python to build on (3.11 to 3.13); by default the first that fits of python3, python3.13, python3.12, python3.11, uv
  --update-yt-dlp    bring yt-dlp to its newest release, whatever constraints.txt says: YouTube changes, and yt-dlp follows within days
  -h, --help         show this text

Status: 0 ready, 1 something could not be had, 2 wrong usage.
TEXT
}

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}
wrong_usage() {
    printf 'setup: %s\n' "$*" >&2
    usage >&2
    exit 2
}

extras="" require_sox=no python="" update=no
while [ $# -gt 0 ]; do
    case $1 in
        --with)
            [ $# -gt 1 ] || wrong_usage "--with needs a value, such as test,learn"
            extras=$2
            shift
            ;;
        --with=*) extras=${1#*=} ;;
        --python)
            [ $# -gt 1 ] || wrong_usage "--python needs a value, such as python3.12"
            python=$2
            shift
            ;;
        --python=*) python=${1#*=} ;;
        --require-sox) require_sox=yes ;;
        --update-yt-dlp) update=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) wrong_usage "unknown argument: $1" ;;
    esac
    shift
done

cd "$(dirname "${BASH_SOURCE[0]}")"
project=$PWD
venv=$project/.venv
stamp=$venv/.setup-stamp
unpinned=$venv/.yt-dlp-updated

for extra in ${extras//,/ }; do
    case $extra in
        test | learn | javascript | webdataset) ;;
        *) wrong_usage "unknown extra: $extra (there are test, learn, javascript, webdataset)" ;;
    esac
done

# Two runs at once, such as by make -j: the second waits.
if command -v flock >/dev/null; then
    exec 9<setup.sh
    flock 9
fi

is_root_with_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    say "apt-get install $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null 2>&1 && return
    apt-get update -qq </dev/null >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# --- Python

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; }
can_make_venvs() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() { # prints a Python that fits and can make virtual environments
    local candidate
    for candidate in ${python:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}; do
        if fits "$candidate" && can_make_venvs "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

make_venv() {
    local found
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
        die "$venv is there but is no virtual environment: move it away"
    fi
    rm -rf -- "$venv"
    [ -w "$project" ] || die "$project is not yours to write to: clone the repository to a place of your own"
    if ! found=$(find_python) && [ -z "$python" ] && is_root_with_apt; then
        apt_install python3 python3-venv || true
        found=$(find_python) || true
    fi
    if [ -n "$found" ]; then
        say "making .venv with $("$found" -V)"
        "$found" -m venv "$venv"
    elif command -v uv >/dev/null; then
        say "making .venv with uv"
        uv venv --quiet --seed --python "${python:->=3.11,<3.14}" "$venv"
    else
        die "no Python 3.11 to 3.13 with the venv module found${python:+ in $python}. One of these gets it:
    apt-get install python3-venv              (Debian 12, Ubuntu 24.04 and later; as root)
    module avail python; module load python   (clusters; then ./setup.sh again)
    conda create -n py312 python=3.12; conda activate py312"
    fi
}

healthy() {
    local folder
    [ -x "$venv/bin/python" ] && [ -r "$venv/bin/pip" ] && fits "$venv/bin/python" || return 1
    # the commands inside name their Python by its full path: after a move or copy of the checkout it is the old one
    folder=$(sed -n '1,2s/^[^/]*\(\/.*\)\/python[0-9.]*\(".*\)\{0,1\}$/\1/p' "$venv/bin/pip")
    [ "$folder" -ef "$venv/bin" ]
}

# --- the package

pins() { # the constraints; those of yt-dlp not, once it has been updated on purpose
    if [ -e "$unpinned" ]; then
        grep -v -i '^yt[-_]dlp' constraints.txt
    else
        cat constraints.txt
    fi
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" </dev/null; }

wanted_hash() { { printf '%s\n' "$project" && cat pyproject.toml constraints.txt; } | cksum; }

# The stamp: the hash on the first line, the installed extras on the second.
installed_extras=""
install_package() {
    local all
    all=$(printf '%s,%s' "$extras" "$installed_extras" | tr , '\n' | sed '/^$/d' | sort -u | paste -sd, -)
    say "installing audioset-batch${all:+ with $all}; the first time takes some minutes"
    pins >"$venv/.constraints.txt"
    pip install --quiet --use-pep517 -c "$venv/.constraints.txt" -e "$project${all:+[$all]}" ||
        die "pip could not install the package; see above"
    printf '%s\n%s\n' "$(wanted_hash)" "$all" >"$stamp"
}

up_to_date() {
    local extra
    [ -f "$stamp" ] || return 1
    { IFS= read -r have && IFS= read -r installed_extras; } <"$stamp" || return 1
    for extra in ${extras//,/ }; do
        [[ ,$installed_extras, == *,$extra,* ]] || return 1
    done
    [ "$have" = "$(wanted_hash)" ]
}

# --- sox

load_sox_module() {
    local init
    for init in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do
        # shellcheck disable=SC1090
        type module >/dev/null 2>&1 || { [ -r "$init" ] && . "$init"; } || true
    done
    type module >/dev/null 2>&1 && module load sox >/dev/null 2>&1 && command -v sox >/dev/null
}

sox_from_conda() {
    local conda
    for conda in micromamba mamba conda; do
        if command -v "$conda" >/dev/null; then
            say "getting sox by $conda"
            "$conda" create --quiet --yes --prefix "$venv/sox" --channel conda-forge sox </dev/null >/dev/null || continue
            ln -sf ../sox/bin/sox "$venv/bin/sox"
            return
        fi
    done
    return 1
}

provide_sox() {
    if [ -x "$venv/bin/sox" ] || command -v sox >/dev/null; then
        return
    fi
    if is_root_with_apt && apt_install sox; then
        return
    fi
    if sox_from_conda; then
        return
    fi
    if load_sox_module; then
        say "sox comes from 'module load sox'; jobs/environment.sh loads it too"
        return
    fi
    say "sox is missing: conversions of rate, bit depth or channels will fail until it is there. One of these gets it:
    apt-get install sox                                  (as root)
    conda install -c conda-forge sox                     (or mamba; in an active environment)
    module avail sox; module load sox                    (clusters)" >&2
    [ "$require_sox" = no ] || exit 1
}

if [ "$update" = yes ]; then
    healthy || die "there is no environment here yet: run ./setup.sh first"
    touch "$unpinned"
    pins >"$venv/.constraints.txt"
    pip install --quiet --upgrade -c "$venv/.constraints.txt" 'yt-dlp[default]' || die "yt-dlp could not be updated; see above"
    say "yt-dlp is $("$venv/bin/yt-dlp" --version); ./setup.sh keeps it, and removing .venv brings the pinned one back"
    exit 0
fi

healthy || make_venv
up_to_date || install_package
provide_sox
say "ready: .venv/bin/audioset-batch"
