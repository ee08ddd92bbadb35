#!/bin/sh
# Retrain, wait for the run to end, and say by the exit code how it ended; for a cron that mails what is said.
#
#   SERVICE_URL        default http://127.0.0.1:8000
#   SERVICE_KEY_FILE   a file (mode 600) that holds a key with the role operate; not needed on the service's machine
#   RETRAIN_BODY       default {} (what the triggers ask for); {"models": ["lightgbm"], "force": true}
#   RETRAIN_WAIT       seconds to wait for the end, default 7200
#   RETRAIN_POLL       seconds between looks, default 10
#   RETRAIN_RETRIES    further attempts to start it, each after twice the wait of the one before; default 6 (a minute)
#
# Exit codes: 0 completed, or another run is under way already and completes; 1 the run did not complete, or models
# failed in it; 2 the service refused; 3 it cannot be reached; 4 the run goes on after RETRAIN_WAIT seconds.
# Needs curl (7.52 or newer), grep and sed.
set -u

url=${SERVICE_URL:-http://127.0.0.1:8000}
body=${RETRAIN_BODY:-"{}"}
patience=${RETRAIN_WAIT:-7200}
poll=${RETRAIN_POLL:-10}
retries=${RETRAIN_RETRIES:-6}
if [ -n "${SERVICE_KEY_FILE:-}" ] && [ ! -r "$SERVICE_KEY_FILE" ]; then
    echo "SERVICE_KEY_FILE: $SERVICE_KEY_FILE cannot be read" >&2
    exit 2
fi
answer=$(mktemp) || exit 3
trap 'rm -f "$answer"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

# ask CURL-ARGUMENTS…: prints the HTTP status, 000 without an answer; what was answered is in the file $answer.
# The key comes by standard input: on the command line everybody on this machine could read it.
ask() {
    if [ -n "${SERVICE_KEY_FILE:-}" ]; then
        printf 'header = "X-API-Key: %s"\n' "$(tr -d '[:space:]' <"$SERVICE_KEY_FILE")"
    fi | curl --config - --silent --output "$answer" --write-out '%{http_code}' \
        --connect-timeout 5 --max-time 60 "$@" || true
}

# field NAME: the first text of that name in the answer; a run's own come before those of its parts.
field() { grep -Eo "\"$1\" *: *\"(\\\\.|[^\"\\\\])*\"" "$answer" | head -n 1 | sed 's/^[^:]*: *"//; s/"$//'; }

start() {
    # To ask twice is harmless: there is one run at a time, and the 409 of a second one names it.
    status=$(ask --request POST --header 'Content-Type: application/json' --data "$body" \
        --retry "$retries" --retry-connrefused "$url/api/clm/retrain")
    case $status in
        202) run=$(field run_id); say "run $run has begun" ;;
        409) run=$(field run_id); say "run $run is under way already" ;;
        000) say "$url cannot be reached"; exit 3 ;;
        *) say "$url refused, $status: $(field detail)"; exit 2 ;;
    esac
    if [ -z "$run" ]; then
        say "the answer names no run: $(head -c 300 "$answer")"
        exit 2
    fi
}

follow() {
    deadline=$(($(date +%s) + patience))
    while :; do
        # Between two looks the service may be restarted; it takes the run up again, so no answer is no end.
        status=$(ask "$url/api/clm/runs/$run")
        state=$(field status)
        case $status:$state in
            200:completed) finish ;;
            200:failed | 200:cancelled) say "run $run $state: $(field error)"; exit 1 ;;
            401:* | 403:* | 404:*) say "$url refused, $status: $(field detail)"; exit 2 ;;
        esac
        if [ "$(date +%s)" -ge "$deadline" ]; then
            [ "$status" = 200 ] || { say "$url cannot be reached"; exit 3; }
            say "run $run is still $state after $patience seconds"
            exit 4
        fi
        sleep "$poll"
    done
}

finish() {
    failed=$(grep -Eo '"failures" *: *\{ *"[^}]*' "$answer" | head -n 1 | sed 's/^[^{]*{ *//')
    if [ -n "$failed" ]; then
        say "run $run completed, but models failed: $failed"
        exit 1
    fi
    say "run $run completed"
    exit 0
}

start
follow
