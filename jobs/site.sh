# shellcheck shell=bash
# What this site needs; the one file here to edit. Every job reads it. Before other commands: . jobs/site.sh

# module load openmpi hdf5

# How ranks start: a command to which jobs add `-n RANKS bin/lj-vae ...`.
export LJ_VAE_LAUNCHER=${LJ_VAE_LAUNCHER:-srun --mpi=pmix}
# export LJ_VAE_LAUNCHER="mpirun"
# export LJ_VAE_LAUNCHER="srun --mpi=pmi2 --cpu-bind=cores"

# The network interface between nodes, if `lj-vae doctor` names a wrong one.
# export GLOO_SOCKET_IFNAME=ib0 OMPI_MCA_btl_tcp_if_include=ib0

# Where runs go without -o: a file system that all nodes share. By default runs/ in the folder where you are.
# export LJ_VAE_RUNS=/scratch/$USER/runs

# What sbatch takes for every job unless its command line says otherwise.
# export SBATCH_ACCOUNT=my-project
# export SBATCH_PARTITION=standard
