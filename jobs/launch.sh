# shellcheck shell=bash
# Sourced by every job of this folder, and by pipeline.sh: how ranks start, and what happens when a job is stopped early.
#
# Which run, the command line first, then the environment:
#   -c FILE.yaml or LJ_VAE_CONFIG   the configuration
#   -o RUN_DIR   or LJ_VAE_OUTPUT   the run folder; without it runs/NAME-OF-CONFIG
# Neither: configs/equilibrated.yaml. Only a run folder: the configuration stored in it.
# Relative paths start where sbatch was called.
#
# LJ_VAE_LAUNCHER=srun|mpirun   how ranks start; srun (the default) needs Slurm with PMIx
# LJ_VAE_MAX_HOURS              the time a command may take; without it, what is left of the job when it starts
# LJ_VAE_MAX_REQUEUES           how often a job that was stopped early goes back into the queue [20]
#
# What a site sets for all of its jobs stands in site.sh.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/jobs/site.sh"
[ -z "${SLURM_JOB_ID:-}" ] || cd "${SLURM_SUBMIT_DIR:-.}" || exit 2

# choose ARGUMENTS...: sets $run to the run folder that lj-vae will take with these arguments.
choose() {
    local config=${LJ_VAE_CONFIG:-}
    run=${LJ_VAE_OUTPUT:-}
    while [ $# -gt 0 ]; do
        case $1 in
            -c | --config) config=${2:-}; shift ;;
            --config=*) config=${1#*=} ;;
            -c*) config=${1#-c} ;;
            -o | --output) run=${2:-}; shift ;;
            --output=*) run=${1#*=} ;;
            -o*) run=${1#-o} ;;
            -s | --set) shift ;;
        esac
        [ $# -gt 0 ] && shift
    done
    if [ -z "$config$run" ]; then
        export LJ_VAE_CONFIG=$root/configs/equilibrated.yaml
        config=$LJ_VAE_CONFIG
    fi
    if [ -z "$run" ]; then
        run=${config##*/}
        run=runs/${run%.*}
    fi
}

# hours_left: the hours until this job ends; nothing outside of a job or where Slurm does not say.
hours_left() {
    local end
    [ -n "${SLURM_JOB_ID:-}" ] &&
        end=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e 2>/dev/null) &&
        end=$(date -d "${end:-unknown}" +%s 2>/dev/null) &&
        awk "BEGIN { printf \"%.6f\", ($end - $(date +%s)) / 3600 }"
}

# launch RANKS COMMAND ARGUMENTS...: runs bin/lj-vae on that many ranks; its exit status is lj-vae's.
launch() {
    local ranks=$1 hours
    shift
    choose "${@:2}"
    # Of this command only: one that starts later in the job has less time.
    hours=${LJ_VAE_MAX_HOURS:-$(hours_left)}
    local start=(env ${hours:+LJ_VAE_MAX_HOURS="$hours"})
    case ${LJ_VAE_LAUNCHER:-srun} in
        srun)
            # srun no longer takes this from the job since Slurm 22.05.
            export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
            local nodes=()
            [ "$ranks" -gt 1 ] || nodes=(--nodes=1)
            "${start[@]}" srun --mpi=pmix --ntasks="$ranks" "${nodes[@]}" "$root/bin/lj-vae" "$@"
            ;;
        mpirun)
            # As root, as in a container, mpirun wants to be told twice.
            [ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
            # Not bound: lj-vae divides the cores it finds among its ranks, mpirun would leave each one core.
            "${start[@]}" mpirun -n "$ranks" --bind-to none "$root/bin/lj-vae" "$@"
            ;;
        *)
            echo "lj-vae: error: LJ_VAE_LAUNCHER is $LJ_VAE_LAUNCHER; it can be srun or mpirun" >&2
            return 2
            ;;
    esac
}

# finish STATUS: ends the job. One that was stopped early (75) goes back into the queue, so that jobs that wait for its
# success keep waiting.
finish() {
    local status=$1 most=${LJ_VAE_MAX_REQUEUES:-20} requeued=${SLURM_RESTART_COUNT:-0}
    if [ "$status" = 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
        if [ "$requeued" -ge "$most" ]; then
            echo "lj-vae: stopped early after $requeued of at most $most requeues (LJ_VAE_MAX_REQUEUES); submit the" \
                "same job again to continue"
        elif scontrol requeue "$SLURM_JOB_ID"; then
            echo "lj-vae: stopped early; back in the queue ($((requeued + 1)) of at most $most times)"
            sleep 600 # Slurm ends this script
        else
            echo "lj-vae: stopped early, and Slurm does not requeue here; submit the same job again to continue"
        fi
    fi
    exit "$status"
}
