# Sourced by scripts/demo and scripts/test: a Python, and a virtual environment with what a script needs.
# POSIX sh; nothing but Python 3.11+ with its venv module is asked of the machine.

fail() {
    printf '%s: %s\n' "$0" "$1" >&2
    exit 1
}

# Print the first Python that is new enough and can make virtual environments, or say why there is none.
find_python() {
    old='' bare=''
    for name in ${PYTHON:-python3.11 python3 python3.12 python3.13 python3.14 python}; do
        version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if ! "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            old="$old $name: $version"
        elif ! "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            bare="$name ($version)"
        else
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    if [ -n "$bare" ]; then
        fail "$bare has no venv module; on Debian and Ubuntu: apt install python3-venv"
    fi
    fail "Python 3.11 or newer is needed, and none was found on PATH${old:+ (${old# })}; PYTHON=/path/to/python chooses one"
}

# environment FOLDER FINGERPRINT REQUIREMENT...: make the virtual environment FOLDER and install into it, unless that
# was done before with the same Python, place and FINGERPRINT.
environment() {
    folder=$1 fingerprint=$2
    shift 2
    python=$(find_python) || exit 1
    stamp="$("$python" -c 'import sys; print(sys.version)') $python $PWD $fingerprint $*"
    if [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    printf 'setting up %s with %s (only the first time takes long) ...\n' "$folder" "$python" >&2
    "$python" -m venv --clear "$folder" || fail "could not make a virtual environment in $folder"
    if ! "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >"$folder/pip.log" 2>&1; then
        cat "$folder/pip.log" >&2
        fail "pip could not install what is needed, see above; it must reach a package index (PIP_INDEX_URL names another)"
    fi
    printf '%s\n' "$stamp" >"$folder/stamp"
}
