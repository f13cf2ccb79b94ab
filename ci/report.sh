#!/usr/bin/env bash
# Budget: 1 minute on 2 cores after building.
#
# The report, as a browser shows it. One page of a real run, one of records with damage of every kind and with hostile text
# (ci/fixtures/records), and that of the last `cargo ownerdead check` if there is one. With scripts forbidden each must have its
# parts, in light and dark, wide and narrow; with scripts allowed none may run; and nothing may be fetched. Pages that run a script,
# fetch something and show nothing are looked at in the same way first: the checks must see that. Screenshots are left in
# target/ownerdead/report-check. Exit code 3 where there is no chromium or google-chrome.
#
#   ci/report.sh
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$target/ownerdead/report-check
browser=
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    [[ -n $browser ]] || browser=$(command -v "$name" || true)
done
[[ -n $browser ]] || { echo 'report: not run: install chromium, or google-chrome, and have it in PATH'; exit 3; }
fail() { echo "report: FAILED: $1"; exit 1; }
running=
# `timeout` passes the signal to all of the browser.
trap '[[ -z $running ]] || { kill "$running" 2>/dev/null; wait "$running"; } || true; rm -rf "$work/profile" "$work/home"' EXIT
trap 'echo "report: interrupted"; exit 130' INT TERM
rm -rf "$work"
mkdir -p "$work"

# look PAGE NAME SCRIPTS WIDTH SCHEME: leaves NAME.dom, NAME.png and NAME.net; SCRIPTS is 1 (allowed) or 2 (forbidden), SCHEME 0 (dark)
# or 1 (light).
look() {
    local page=$1 name=$work/$2
    rm -rf "$work/profile" "$work/home"
    mkdir -p "$work/profile/Default" "$work/home"
    # As a person forbids them; the flag that turns scripts off altogether takes those of --screenshot with it.
    printf '{"profile":{"default_content_setting_values":{"javascript":%d}}}' "$3" >"$work/profile/Default/Preferences"
    HOME=$work/home XDG_CONFIG_HOME=$work/home XDG_CACHE_HOME=$work/home TMPDIR=$work/home \
        timeout --kill-after=5 60 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars \
        --host-resolver-rules='MAP * ~NOTFOUND' --user-data-dir="$work/profile" --log-net-log="$name.net" --window-size="$4,1600" \
        --blink-settings="preferredColorScheme=$5" --screenshot="$name.png" --dump-dom "file://$page" >"$name.dom" 2>"$name.log" &
    running=$!
    wait "$running" || { tail "$name.log"; fail "the browser ended with exit code $? at $page"; }
    running=
    [[ -s $name.dom && -s $name.png && -s $name.net ]] || { tail "$name.log"; fail "the browser showed nothing of $page"; }
}
title() { sed -n 's/.*<title>\([^<]*\)<\/title>.*/\1/p' "$work/$1.dom" | head -n 1; }
# What the page asked for. What the browser asks for on its own has no origin; it gets no answer, since no name is resolved.
fetched() {
    { grep -F '"initiator":"' "$work/$1.net" | grep -vF '"initiator":"not an origin"' |
        grep -oE '"url":"(https?|wss?|ftp):[^"]*"' | sort -u; } || true
}
size() { stat -c %s "$work/$1.png"; }

# What the checks must be able to see.
mkdir "$work/control"
echo '<!doctype html><title>still</title><p>x<script>document.title="ran"</script><img src="http://owned.invalid/x">' >"$work/control/bad.html"
echo '<!doctype html><title>empty</title>' >"$work/control/empty.html"
look "$work/control/bad.html" control-on 1 1280 1
[[ $(title control-on) == ran ]] || fail 'a script that is allowed did not run: nothing could be seen of one that runs'
[[ $(fetched control-on) == *owned.invalid* ]] || fail 'a page that fetches something was not seen to do so'
look "$work/control/bad.html" control-off 2 1280 1
[[ $(title control-off) == still ]] || fail 'a script that is forbidden ran'
look "$work/control/empty.html" control-empty 2 1280 1

# sees NAME PAGE TITLE TEXT...: all that is wanted of a page.
sees() {
    local name=$1 page=$2 want=$3 text tag
    shift 3
    look "$page" "$name-light" 2 1280 1
    look "$page" "$name-dark" 2 1280 0
    look "$page" "$name-narrow" 2 500 1
    look "$page" "$name-scripts" 1 1280 1
    for look in light dark narrow scripts; do
        [[ $(title "$name-$look") == "$want" ]] || fail "$name, $look: the title is \"$(title "$name-$look")\", expected \"$want\""
        [[ -z $(fetched "$name-$look") ]] || fail "$name, $look: it fetched $(fetched "$name-$look")"
        for tag in script img iframe object embed link base form button input video audio; do
            ! grep -qiE "<$tag[ >/]" "$work/$name-$look.dom" || fail "$name, $look: there is an element <$tag>"
        done
        ! grep -qiE '<[^>]* on[a-z]+=' <(sed 's/"[^"]*"/""/g' "$work/$name-$look.dom") || fail "$name, $look: an element has a handler"
        for text in '<h1>' '<table' '<svg' 'id="checks"' 'id="deaths"' "$@"; do
            grep -qF -- "$text" "$work/$name-$look.dom" || fail "$name, $look: it has no $text"
        done
        (($(size "$name-$look") > 3 * $(size control-empty))) || fail "$name, $look: the picture is empty"
    done
    ! cmp -s "$work/$name-light.png" "$work/$name-dark.png" || fail "$name: light and dark are the same"
    echo "report: $name: $want, $(wc -c <"$page") bytes, $(grep -o '<tr' "$work/$name-light.dom" | wc -l) rows, nothing fetched, no script ran"
}

cargo build -q --release --features cli --bin ownerdead
OWNERDEAD_RECORDS=$work/records OWNERDEAD_CHAOS_SECONDS=1 cargo test -q --release --test chaos >"$work/chaos.log" 2>&1 ||
    { cat "$work/chaos.log"; fail 'the real run did not pass'; }
cargo ownerdead report --html "$work/real.html" --junit "$work/real.xml" --json "$work/real.json" "$work/records" >"$work/real.log" ||
    { cat "$work/real.log"; fail 'the report of a run that passed did not'; }
sees real "$work/real.html" 'ownerdead: passed' kill_lock_holder 'Nothing was found' 'median'

code=0
cargo ownerdead report --html "$work/damage.html" --junit "$work/damage.xml" --json "$work/damage.json" ci/fixtures/records >"$work/damage.log" || code=$?
((code == 1)) || fail "the report of records with damage ended with exit code $code, expected 1"
sees damage "$work/damage.html" 'ownerdead: FAILED' '✘ lost' '✘ torn' '✘ duplicated' '✘ stuck' '✘ crashed' '✘ other' \
    'OWNERDEAD_SEED=7 OWNERDEAD_CHAOS_SECONDS=60 cargo test' 'target/ownerdead/kill/torn-4711.image' \
    '&lt;script&gt;document.title="owned"&lt;/script&gt;' 'instructions not come by' '◐ INCOMPLETE' '○ not run'

if [[ -s $target/ownerdead/report.html ]]; then
    want=$(sed -n 's/.*<title>\([^<]*\)<\/title>.*/\1/p' "$target/ownerdead/report.html" | head -n 1)
    sees check "$target/ownerdead/report.html" "$want" 'id="layers"'
fi
echo "report: passed: screenshots are in ${work#"$PWD/"}"
