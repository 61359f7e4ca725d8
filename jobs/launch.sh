# shellcheck shell=bash
# Sourced by every job of this folder: how ranks start, and what happens when a job is stopped early.
#
# LJ_VAE_CONFIG, LJ_VAE_OUTPUT   configuration and run folder where -c and -o are not given
# LJ_VAE_MAX_HOURS               the time a command may take [what is left of the job when it starts]
# LJ_VAE_MAX_REQUEUES            how often a job that was stopped early goes back into the queue [20]
# LJ_VAE_ROOT                    the checkout [the one of the job's script]
#
# What a site sets for all of its jobs is in site.sh.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ -f "$root/jobs/site.sh" ] || { echo "lj-vae: error: no $root/jobs/site.sh; restore it with git checkout" >&2; exit 2; }
. "$root/jobs/site.sh"
cd "$SLURM_SUBMIT_DIR" || exit 2
# Slurm takes the number of an array's last element for the whole array.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-}}
job=${job:-$SLURM_JOB_ID}
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun no longer takes this from the job since Slurm 22.05
# Not bound by Open MPI: lj-vae divides the cores it finds among its ranks. In containers it may run as root.
export OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# hours_left: the hours until this job ends; nothing where Slurm does not say.
hours_left() {
    local end
    end=$(squeue --noheader --jobs="$job" --format=%e 2>/dev/null) && end=$(date -d "$end" +%s 2>/dev/null) || return 0
    awk "BEGIN { printf \"%.6f\", ($end - $(date +%s)) / 3600 }"
}

# launch COMMAND ARGUMENTS...: runs bin/lj-vae on the job's tasks. If that does not succeed, the job ends here.
launch() {
    local launcher hours
    read -ra launcher <<<"$LJ_VAE_LAUNCHER"
    command -v "${launcher[0]}" >/dev/null || {
        echo "lj-vae: error: LJ_VAE_LAUNCHER is '$LJ_VAE_LAUNCHER', and ${HOSTNAME} has no ${launcher[0]}; edit" \
            "$root/jobs/site.sh" >&2
        exit 2
    }
    # Of this command only: one that starts later in the job has less time.
    hours=${LJ_VAE_MAX_HOURS:-$(hours_left)}
    trap 'finish $?' EXIT
    env ${hours:+LJ_VAE_MAX_HOURS="$hours"} "${launcher[@]}" -n "$SLURM_NTASKS" "$root/bin/lj-vae" "$@"
}

# finish STATUS: a job that was stopped early (75) goes back into the queue, so that jobs that wait for its success keep
# waiting.
finish() {
    local most=${LJ_VAE_MAX_REQUEUES:-20} requeued=${SLURM_RESTART_COUNT:-0}
    [ "$1" = 75 ] || return 0
    if [ "$requeued" -ge "$most" ]; then
        echo "lj-vae: stopped early after $requeued of at most $most requeues (LJ_VAE_MAX_REQUEUES); submit the" \
            "same job again to continue"
    elif scontrol requeue "$job"; then
        echo "lj-vae: stopped early; back in the queue ($((requeued + 1)) of at most $most times)"
        sleep 600 # Slurm ends this script
    else
        echo "lj-vae: stopped early, and Slurm does not requeue here; submit the same job again to continue"
    fi
}
