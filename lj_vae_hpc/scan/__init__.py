"""Campaigns: many ensembles and models in one folder, alone, under mpirun or as Slurm jobs."""
