# Sourced by everything in this folder, with $root set to the checkout.
#
# Which run, the command line first, then the environment:
#   -c FILE.yaml or LJ_VAE_CONFIG   the configuration
#   -o RUN_DIR   or LJ_VAE_OUTPUT   the run folder; without it runs/NAME-OF-CONFIG
# Neither: configs/equilibrated.yaml. Only a run folder: the configuration stored in it.
# Relative paths start where sbatch was given.
#
# How ranks start: LJ_VAE_LAUNCHER=srun (the default, needs Slurm with PMIx) or mpirun. They get the end of the job as
# LJ_VAE_MAX_HOURS, unless that is set, and begin nothing that would not end in time; Slurm's warning, which only what
# srun started gets, may come too late for large systems.

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

# launch RANKS COMMAND ARGUMENTS...: runs bin/lj-vae on that many ranks; its exit status is lj-vae's.
launch() {
    local ranks=$1
    shift
    choose "${@:2}"
    local end
    [ -n "${SLURM_JOB_ID:-}" ] &&
        end=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e 2>/dev/null) &&
        end=$(date -d "${end:-unknown}" +%s 2>/dev/null) &&
        export LJ_VAE_MAX_HOURS=${LJ_VAE_MAX_HOURS:-$(awk "BEGIN { print ($end - $(date +%s)) / 3600 }")}
    case ${LJ_VAE_LAUNCHER:-srun} in
        srun)
            # srun no longer takes this from the job since Slurm 22.05.
            export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
            local nodes=()
            [ "$ranks" -gt 1 ] || nodes=(--nodes=1)
            srun --mpi=pmix --ntasks="$ranks" "${nodes[@]}" "$root/bin/lj-vae" "$@"
            ;;
        mpirun)
            # As root, as in a container, mpirun wants to be told twice.
            [ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
            # Not bound: lj-vae divides the cores it finds among its ranks, mpirun would leave each one core.
            mpirun -n "$ranks" --bind-to none "$root/bin/lj-vae" "$@"
            ;;
        *)
            echo "lj-vae: error: LJ_VAE_LAUNCHER is $LJ_VAE_LAUNCHER; srun and mpirun are known" >&2
            return 2
            ;;
    esac
}
