# shellcheck shell=bash
# What this site needs; edit it. Sourced on the login node by pipeline.sh and on the compute nodes by every job.

# module load openmpi hdf5
# export LJ_VAE_LAUNCHER=mpirun
# export UCX_TLS=all                    # or whatever the network wants

# Read by sbatch, so that pipeline.sh hands them on; for a single job call `. jobs/site.sh` before sbatch.
# export SBATCH_ACCOUNT=my-project
# export SBATCH_PARTITION=standard
