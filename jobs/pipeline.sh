#!/usr/bin/env bash
usage='Usage: jobs/pipeline.sh [-c FILE.yaml] [-o RUN_DIR] [-s SECTION.KEY=VALUE]...

Submits generate, train and evaluate as three Slurm jobs. Each starts when the one before it has succeeded, and is
cancelled if that failed. A job that reaches its time limit saves, goes back into the queue and continues. Arguments go
to all three, and so to lj-vae.

Environment:
  SBATCH_OPTIONS    options of sbatch for all three jobs, divided at blanks: "--ntasks=64 --partition=long"
  LJ_VAE_CONFIG     the configuration, where -c is not given
  LJ_VAE_OUTPUT     the run folder, where -o is not given

What a site needs for every job stands in jobs/site.sh. If a job fails, call the same command again: what is finished is
kept.

Examples:
  jobs/pipeline.sh
  SBATCH_OPTIONS="--nodes=4 --ntasks=256" jobs/pipeline.sh -c configs/scan.yaml -o runs/scan'

set -euo pipefail
case " $* " in
    *" -h "* | *" --help "*) echo "$usage"; exit 0 ;;
esac
command -v sbatch >/dev/null || { echo "pipeline: error: no sbatch on this machine" >&2; exit 2; }
jobs=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$jobs/site.sh"
read -ra options <<<"${SBATCH_OPTIONS:-}"

ids=()
for stage in generate train evaluate; do
    after=()
    [ ${#ids[@]} -eq 0 ] || after=(--dependency="afterok:${ids[-1]}" --kill-on-invalid-dep=yes)
    id=$(sbatch --parsable "${after[@]}" "${options[@]}" "$jobs/$stage.slurm" "$@") || {
        echo "pipeline: error: sbatch refused $stage${ids:+; the jobs before it are cancelled}" >&2
        [ ${#ids[@]} -eq 0 ] || scancel "${ids[@]}"
        exit 2
    }
    ids+=("${id%%;*}") # with several clusters sbatch adds ;CLUSTER
    log=$(scontrol show job "${ids[-1]}" | sed -n "s/^ *StdOut=//p")
    printf '%-9s job %s, log %s\n' "$stage" "${ids[-1]}" "$log"
done
echo "watch:    squeue --jobs=$(IFS=, && echo "${ids[*]}")"
